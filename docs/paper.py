"""The generated parts of docs/paper.md: the numbers of arXiv 2509.14225 beside ours; python docs/paper.py draws its picture."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mibench.leaderboard.board import Board, open_board
from mibench.leaderboard.summaries import Difference, paired_mean
from mibench.leaderboard.text import MISSING, markdown_table, rate, signed, span
from mibench.names import build
from mibench.plugins import load
from mibench.results.figures import AttackMetrics
from mibench.results.known import Known

DOCS = Path(__file__).parent
PICTURE = "paper-swiss-roll.png"
NEAR, FEW = 0.03, 5
"""How far a paper's mean may lie outside our interval and still count as reproduced; with fewer seeds nothing is said."""

SWISS_ROLL = {
    (2, 0.5): (0.9496, 0.9595), (3, 0.5): (0.9293, 0.9374), (4, 0.5): (0.9249, 0.9360),
    (2, 2): (0.9515, 0.9639), (3, 2): (0.9260, 0.9335), (4, 2): (0.9147, 0.9254),
    (2, 10): (0.9619, 0.9716), (3, 10): (0.9081, 0.9215), (4, 10): (0.7656, 0.8070),
}  # fmt: skip
"""By order and β: the 95 % interval of the AUROC of PIA, averaged over times, 25 runs."""

CURVES: dict[tuple[int, float], dict[float, float]] = {
    (2, 0.5): {0: 0.99, 0.1: 1.0, 0.35: 0.89, 1: 0.92, 2: 0.956},
    (3, 0.5): {0: 0.86, 0.1: 0.987, 0.2: 0.995, 0.4: 0.87, 1: 0.75, 2: 0.65},
    (4, 0.5): {0: 0.66, 0.1: 0.94, 0.2: 0.985, 0.35: 0.994, 0.5: 0.945, 1: 0.72, 2: 0.53},
    (2, 2): {0: 0.99, 0.1: 0.994, 0.3: 0.88, 1: 0.93, 2: 0.957},
    (3, 2): {0: 0.58, 0.1: 0.991, 0.2: 0.995, 0.4: 0.84, 1: 0.76, 2: 0.66},
    (4, 2): {0: 0.57, 0.1: 0.90, 0.2: 0.98, 0.3: 0.99, 0.5: 0.86, 1: 0.67, 2: 0.51},
    (2, 10): {0: 0.98, 0.1: 0.99, 0.3: 0.89, 1: 0.95, 2: 0.96},
    (3, 10): {0: 0.59, 0.1: 0.98, 0.2: 0.994, 0.3: 0.87, 1: 0.71, 2: 0.655},
    (4, 10): {0: 0.52, 0.1: 0.57, 0.2: 0.71, 0.4: 0.84, 1: 0.64, 2: 0.51},
}
"""By order and β: its AUROC at single times t, read off figure 2a (± .01)."""

SPEECH = {
    30: (91.65, 77.50, 0.503, 0.597), 60: (94.31, 62.57, 0.686, 0.481), 90: (102.50, 65.20, 0.869, 0.525),
    120: (95.72, 61.98, 0.912, 0.581), 150: (85.27, 62.53, 0.939, 0.731), 180: (89.18, 57.43, 0.949, 0.696),
}  # fmt: skip
"""By epoch: FID for n = 1 and n = 2, AUROC for n = 1 and n = 2 (table 1), single runs."""


@functools.cache
def board(name: str) -> Board:
    """The suite paper/<name>, with whatever records it has."""
    return open_board(DOCS.parent / "leaderboards" / "paper" / name, Known.of(load()))


def options(defense: str) -> dict[str, Any]:
    """The options of a HOLD by its label."""
    return build(load(), "defense", defense).model_dump()


def published(metrics: dict[int, AttackMetrics]) -> Difference | None:
    """The mean over seeds of the AUROC at the published setting, with Student's interval in [0, 1]; None for less than two."""
    areas = [one.published.auroc.value for one in metrics.values() if one.published.auroc.value is not None]
    if len(areas) < 2:
        return None
    found = paired_mean(areas, 0.95)
    return Difference(found.mean, (max(0.0, found.interval[0]), min(1.0, found.interval[1])))


def curve(metrics: dict[int, AttackMetrics], horizon: float) -> dict[float, float]:
    """The mean AUROC over seeds at each single time t."""
    found: dict[float, list[float]] = {}
    for one in metrics.values():
        for setting, (_, area) in one.settings.items():
            if setting.startswith("t="):
                found.setdefault(float(setting[2:]) * horizon, []).append(area)
    return {t: sum(areas) / len(areas) for t, areas in sorted(found.items())}


def swiss_roll() -> str:
    """The paper's intervals beside ours."""
    shown = board("swiss-roll")
    attack, dataset = shown.suite.attacks[0], shown.suite.datasets[0]
    header = ["n", "β", "paper, mean over t", "ours", "seeds", "within .03", "paper, peak over t", "ours"]
    header += ["`pia` calibrated", "worst known", "FD", "fraction"]
    rows = []
    for defense in shown.suite.defenses:
        given = options(defense)
        n, beta = given["order"], given["aux_variance"]
        metrics, theirs = shown.metrics(dataset, defense, attack), SWISS_ROLL.get((n, beta))
        ours, at = published(metrics), curve(metrics, given["horizon"])
        calibrated = shown.spread("calibrated_auroc", dataset, defense, "pia")
        worst, seeds = shown.worst(dataset, defense), len(metrics)
        distance, fraction = (shown.spread(name, dataset, defense) for name in ("fd", "fraction"))
        rows.append(
            [
                str(n),
                f"{beta:g}" if n > 1 else MISSING,
                span(theirs, _four) if theirs else MISSING,
                f"{rate(ours.mean)} {span(ours.interval, rate)}" if ours else MISSING,
                f"{seeds} of {len(shown.suite.seeds)}",
                ("yes" if _near(theirs, ours) else "no") if theirs and ours and seeds >= FEW else MISSING,
                rate(max(CURVES[n, beta].values())) if theirs else MISSING,
                rate(max(at.values())) if at else MISSING,
                rate(calibrated.mean) if calibrated else MISSING,
                f"{rate(worst.auroc.mean)} `{worst.attack.partition(':')[0]}`" if worst else MISSING,
                f"{distance.mean:.3g}" if distance else MISSING,
                f"{fraction.mean:.2f}".replace("-", "−") if fraction else MISSING,
            ]
        )
    lines = [_progress(shown, "swiss-roll"), markdown_table(header, rows)]
    if (DOCS / PICTURE).exists():
        lines.append(f"![AUROC over t, ours as lines and the paper's points]({PICTURE})")
    return "\n\n".join(lines)


def _progress(shown: Board, name: str) -> str:
    """How much of a suite is recorded, at the end of training, and how the rest is run."""
    done, cells = shown.progress
    return f"{done} of {cells} cells are recorded" + (
        "." if done == cells else f"; `mibench run paper/{name}` records the rest."
    )


def scan() -> str:
    """The mean over times and the peak at other choices of what the paper does not state."""
    shown = board("swiss-roll-scan")
    attack, rows = shown.suite.attacks[0], []
    for dataset in shown.suite.datasets:
        for defense in shown.suite.defenses:
            given, metrics = options(defense), shown.metrics(dataset, defense, attack)
            ours, at = published(metrics), curve(metrics, given["horizon"])
            theirs = SWISS_ROLL[given["order"], given["aux_variance"]]
            row = [str(build(load(), "dataset", dataset).model_dump()["members"]), f"{given['horizon']:g}"]
            row += [f"{given['t_min']:g}", str(given["order"]), span(theirs, _four)]
            row += [f"{rate(ours.mean)} {span(ours.interval, rate)}" if ours else MISSING]
            rows.append([*row, rate(max(at.values())) if at else MISSING, str(len(metrics))])
    header = ["members", "T", "t_min", "n", "paper, mean over t", "ours", "peak over t", "seeds"]
    return "\n\n".join([_progress(shown, "swiss-roll-scan"), markdown_table(header, rows)])


def _four(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _near(theirs: tuple[float, float], ours: Difference) -> bool:
    middle = sum(theirs) / 2
    return ours.interval[0] - NEAR <= middle <= ours.interval[1] + NEAR


def speech() -> str:
    """The paper's table of epochs beside our shares of the training."""
    shown = board("speech")
    attack, dataset = shown.suite.attacks[0], shown.suite.datasets[0]
    ours = [shown.suite.baseline or shown.suite.defenses[0], "hold2", "hold2:parameterisation=sufficient"]
    header = ["epochs", "FID n = 1", "n = 2", "AUROC n = 1", "n = 2", "share"]
    header += [f"{what} `{name}`" for what in ("FD", "AUROC") for name in ours]
    steps = shown.checkpoints(dataset) if shown.progress[0] else []
    rows = []
    for k, (epochs, theirs) in enumerate(SPEECH.items()):
        row = [str(epochs), *(f"{value:.2f}" for value in theirs[:2]), *map(rate, theirs[2:]), f"{k + 1}/6"]
        then = shown.at(shown.model_kind, steps[k]) if k < len(steps) else None
        distances = [then.spread("fd", dataset, name) if then else None for name in ours]
        areas = [published(then.metrics(dataset, name, attack)) if then else None for name in ours]
        row += [f"{one.mean:.3g}" if one else MISSING for one in distances]
        row += [f"{rate(one.mean)} {span(one.interval, rate)}" if one else MISSING for one in areas]
        rows.append(row)
    return "\n\n".join([_progress(shown, "speech"), markdown_table(header, rows)])


def speech_matched() -> str:
    """The claim of less leakage and better samples, at equal distance."""
    verdict = runpy.run_path(str(DOCS / "verdict.py"))
    shown = board("speech")
    dataset, rows = shown.suite.datasets[0], []
    steps = shown.checkpoints(dataset) if shown.progress[0] else []
    for defense in shown.suite.defenses[1:]:
        case = verdict["Case"](shown, "paper/speech", dataset, defense)
        for step in steps:
            found = list(verdict["differences_at"](case, step))
            entry = "does not get there"
            if len(found) > 1:
                mean = paired_mean(found, 0.95)
                entry = f"{signed(mean.mean)} {span(mean.interval, signed)} ({len(found)} seeds)"
            rows.append([f"`{defense}`", f"step {step}" if step else "end", entry])
    if not rows:
        return "Nothing is recorded yet."
    return markdown_table(["defense", "baseline's distance at", "more AUROC than the baseline"], rows)


def draw() -> None:
    """Write the curves over t of the recorded cells, with the paper's points."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    shown = board("swiss-roll")
    attack, dataset = shown.suite.attacks[0], shown.suite.datasets[0]
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = dict(zip((2, 3, 4), figure.subplots(1, 3, sharey=True), strict=True))
    colours, lowest = {0.5: "C0", 2: "C1", 10: "C3"}, 0.5
    for defense in shown.suite.defenses:
        given = options(defense)
        n, beta = given["order"], given["aux_variance"]
        at = curve(shown.metrics(dataset, defense, attack), given["horizon"])
        lowest = min([lowest, *at.values()])
        for axis in [axes[n]] if n in axes else axes.values():
            style = {"color": colours[beta]} if n > 1 else {"color": "0.6", "linestyle": "--"}
            axis.plot(list(at), list(at.values()), **style)
    for (n, beta), points in CURVES.items():
        axes[n].scatter(list(points), list(points.values()), color=colours[beta], s=18, zorder=3)
        axes[n].set(title=f"n = {n}", xlabel="t", ylim=(lowest - 0.02, 1.02))
        axes[n].grid(alpha=0.3)
    axes[2].set_ylabel("AUROC of PIA at one time")
    keys = [Line2D([], [], color=colour, label=f"β = {beta:g}") for beta, colour in colours.items()]
    keys += [Line2D([], [], color="0.6", linestyle="--", label="n = 1")]
    keys += [
        Line2D([], [], color="0.3", label="ours"),
        Line2D([], [], color="0.3", marker="o", ls="", label="the paper"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False)
    figure.savefig(DOCS / PICTURE, dpi=110, metadata={"Software": None})


PARTS: dict[str, Callable[[], str]] = {
    "paper-swiss-roll": swiss_roll,
    "paper-scan": scan,
    "paper-speech": speech,
    "paper-speech-matched": speech_matched,
}

if __name__ == "__main__":
    draw()
