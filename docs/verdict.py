"""The generated parts of docs/hold.md: what every board says of HOLD."""

from __future__ import annotations

import functools
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mibench.leaderboard.board import Board, open_board
from mibench.leaderboard.summaries import matched, paired_mean
from mibench.leaderboard.text import MISSING, markdown_table, rate, signed, span
from mibench.names import build
from mibench.plugins import load
from mibench.results.known import Known
from mibench.suite.suite import suite_name

SATURATED = 0.95
"""From this AUROC on there is little left to tell apart."""

BOARDS = Path(__file__).parent.parent / "leaderboards"


@dataclass(frozen=True)
class Case:
    """One HOLD on one dataset of a board, without measures of training."""

    board: Board
    suite: str
    dataset: str
    defense: str

    @property
    def plain(self) -> bool:
        """Whether its network is given all blocks, as the papers train it."""
        return "parameterisation=sufficient" not in self.defense

    @property
    def places(self) -> list[str]:
        """The board and the dataset, as a table names them."""
        dataset = self.dataset.partition(":")[0]
        return [f"[{self.suite}](../leaderboards/{self.suite}/README.md)", dataset]

    @property
    def title(self) -> str:
        """The defense, as a table names it."""
        return build(load(), "defense", self.defense).display_name

    def area(self, attack: str, choice: str = "calibrated") -> str:
        """The mean AUROC of an attack at one of its settings, "adaptive" being whichever variant of it was run."""
        names = [name for name in self.board.attacks(self.dataset) if name.partition(":")[0] == attack]
        found = [self.board.spread(f"{choice}_auroc", self.dataset, self.defense, name) for name in names[:1]]
        return rate(found[0].mean) if found and found[0] else MISSING

    def fraction(self, defense: str = "") -> float | None:
        """The mean fraction of the distance, 0 for copies and 1 for a Gaussian."""
        found = self.board.spread("fraction", self.dataset, defense or self.defense)
        return found.mean if found else None


def compared() -> list[Case]:
    """Those with a plain network on boards whose baseline is no HOLD."""
    return [case for case in cases() if case.plain and not case.board.baseline.startswith("hold")]


@functools.cache
def cases() -> list[Case]:
    """Every HOLD of order 2 and more, without measures, that has an attack's record; boards by name."""
    known, found = Known.of(load()), []
    for path in sorted(BOARDS.rglob("suite.toml")):
        if not (path.parent / "records").is_dir() or path.parent.parent.name == "paper":
            continue
        board = open_board(path.parent, known)
        for dataset in [] if board.rehearsal else board.datasets():
            for defense in board.defenses(dataset):
                of_order = defense.startswith("hold") and defense[:5] != "hold1" and "+" not in defense
                if of_order and board.worst(dataset, defense) and board.worst(dataset, board.baseline):
                    found.append(Case(board, suite_name(path.parent), dataset, defense))
    return found


def equal_steps() -> str:
    """Every HOLD after equal training."""
    header = ["board", "data", "defense", "`pia` published", "`pia` calibrated", "`adaptive`", "worst known"]
    header += ["difference from the baseline", "fraction", "of the baseline"]
    rows = []
    for case in compared():
        worst = case.board.worst(case.dataset, case.defense)
        base = case.board.worst(case.dataset, case.board.baseline)
        more = case.board.difference(case.dataset, case.defense, case.board.baseline)
        assert worst and base and more
        areas = [case.area("pia", "published"), case.area("pia"), case.area("adaptive")]
        attacked = f"{rate(worst.auroc.mean)} `{worst.attack.partition(':')[0]}`"
        fractions = [_short(case.fraction(name)) for name in ("", case.board.baseline)]
        difference = f"{signed(more.mean)} {span(more.interval, signed)}"
        rows.append([*case.places, case.title, *areas, attacked, difference, *fractions])
    return markdown_table(header, rows)


def _short(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}".replace("-", "−")


def equal_distance() -> str:
    """HOLD's AUROC less the baseline's where it first reaches a distance of the baseline's, seed by seed."""
    rows = []
    for case in compared():
        steps = case.board.checkpoints(case.dataset)
        if len(steps) > 1:
            entries = [_at_distance(case, step) for step in steps]
            rows.append([*case.places, case.title, *entries])
    widest = max(map(len, rows), default=3)
    header = ["board", "data", "defense", *(f"checkpoint {k}" for k in range(1, widest - 3)), "end"]
    return markdown_table(header, [[*row[:3], *[MISSING] * (widest - len(row)), *row[3:]] for row in rows])


def _at_distance(case: Case, step: int) -> str:
    differences = list(differences_at(case, step))
    seeds = len(_curves(case.board, case.dataset, case.board.baseline))
    if len(differences) < 2:
        return f"not there ({len(differences)} of {seeds} seeds)"
    found = paired_mean(differences, 0.95)
    count = "" if len(differences) == seeds else f" ({len(differences)} of {seeds} seeds)"
    return f"{signed(found.mean)} {span(found.interval, signed)}{count}"


def differences_at(case: Case, step: int) -> Iterator[float]:
    """HOLD's AUROC less the baseline's at the baseline's distance after ``step``, for each seed that gets there."""
    base, own = (_curves(case.board, case.dataset, name) for name in (case.board.baseline, case.defense))
    for seed in base.keys() & own.keys():
        for then, distance, area in base[seed]:
            if then == step and (reached := matched(own[seed], distance)) is not None:
                yield reached - area


def _curves(board: Board, dataset: str, defense: str) -> dict[int, list[tuple[int, float, float]]]:
    """By seed: step, distance and AUROC of the attack that is worst at this step, see ``Board.training_curve``."""
    curves: dict[int, list[tuple[int, float, float]]] = {}
    for step in board.checkpoints(dataset):
        then = board.at(board.model_kind, step)
        worst = then.worst(dataset, defense)
        if worst is None:
            continue
        distances, metrics = then.distances(dataset, defense), then.metrics(dataset, defense, worst.attack)
        for seed in distances.keys() & metrics.keys():
            area = metrics[seed].calibrated.auroc.value
            if area is not None:
                curves.setdefault(seed, []).append((step, distances[seed], area))
    return curves


def sufficient() -> str:
    """The same processes with networks that are given the one block that matters."""
    rows = []
    for case, plain in _pairs():
        worst = [case.board.worst(case.dataset, name) for name in (plain, case.defense)]
        more = case.board.difference(case.dataset, case.defense, plain)
        assert worst[0] and worst[1] and more
        areas = [rate(one.auroc.mean) for one in worst if one]
        fractions = [_short(case.fraction(name)) for name in (plain, case.defense)]
        rows.append([*case.places, case.title.partition(",")[0], areas[0], areas[1]])
        rows[-1] += [f"{signed(more.mean)} {span(more.interval, signed)}", *fractions]
    header = ["board", "data", "defense", "plain", "sufficient", "more", "fraction, plain", "sufficient"]
    return markdown_table(header, rows)


def _pairs() -> Iterator[tuple[Case, str]]:
    """Each case with a sufficient network, with the label of the same process with a plain one."""
    for case in cases():
        plain = case.defense.partition(":parameterisation=sufficient")[0]
        if not case.plain and case.board.worst(case.dataset, plain):
            yield case, plain


def answers() -> str:
    """The counts that the verdict rests on."""
    lines = (_steps(), _distances(), _published(), _given(), _exact())
    return "\n".join(textwrap.fill(f"- {line}", 100, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _steps() -> str:
    plain = compared()
    outcome: Counter[str] = Counter()
    near = full = 0
    for case in plain:
        more = case.board.difference(case.dataset, case.defense, case.board.baseline)
        assert more
        side = "less" if more.interval[1] < 0 else "more" if more.interval[0] > 0 else "neither"
        outcome[side] += 1
        own, base = case.fraction(), case.fraction(case.board.baseline)
        worst = case.board.worst(case.dataset, case.board.baseline)
        full += worst is not None and worst.auroc.mean >= SATURATED
        near += side == "less" and own is not None and base is not None and own <= base
    return (
        f"**At equal steps**, with `plain` networks: of {len(plain)} comparisons with the baseline HOLD leaks less in "
        f"{outcome['less']}, more in {outcome['more']}, and the interval holds 0 in {outcome['neither']}. In {near} of the "
        f"{outcome['less']} where it leaks less its samples are as near to the data as the baseline's, or nearer. "
        f"The baseline itself reads {rate(SATURATED)} or more in {full}."
    )


def _distances() -> str:
    outcome: Counter[str] = Counter()
    for case in compared():
        for step in case.board.checkpoints(case.dataset):
            differences = list(differences_at(case, step))
            if len(case.board.checkpoints(case.dataset)) < 2:
                continue
            if len(differences) < 2:
                outcome["not there"] += 1
                continue
            low, high = paired_mean(differences, 0.95).interval
            outcome["less" if high < 0 else "more" if low > 0 else "neither"] += 1
    return (
        f"**At equal distance**: of {sum(outcome.values())} checkpoints of a baseline HOLD does not reach the distance in "
        f"{outcome['not there']}; where it does, it leaks less in {outcome['less']}, more in {outcome['more']}, and the "
        f"interval over seeds holds 0 in {outcome['neither']}."
    )


def _published() -> str:
    gains = []
    for case in compared():
        worst = case.board.worst(case.dataset, case.defense)
        found = case.board.spread("published_auroc", case.dataset, case.defense, "pia")
        if worst and found:
            gains.append(worst.auroc.mean - found.mean)
    middle = statistics.median(gains)
    return (
        f"**Attacks**: in {len(gains)} cases the worst known attack on HOLD reads a median of {signed(middle)} more, at most "
        f"{signed(max(gains))}, than PIA at its published setting does."
    )


def _given() -> str:
    differences = [case.board.difference(case.dataset, case.defense, plain) for case, plain in _pairs()]
    more = sum(found is not None and found.interval[0] > 0 for found in differences)
    less = sum(found is not None and found.interval[1] < 0 for found in differences)
    return (
        f"**The process or the regression**: with a `sufficient` network the same process leaks more in {more} of "
        f"{len(differences)} pairs, less in {less}."
    )


def _exact() -> str:
    """What attacks reach on the exact model of the members, of the suite with most attacks."""
    board = next(case.board for case in cases() if case.suite == "attacks").at("exact")
    areas: dict[str, list[float]] = {}
    for dataset in board.datasets():
        for defense in board.defenses(dataset):
            if defense.startswith("hold"):
                for attack in board.attacks(dataset):
                    if found := board.spread("calibrated_auroc", dataset, defense, attack):
                        areas.setdefault(f"{dataset} {defense}", []).append(found.mean)
    seen = sum(area >= 0.98 for values in areas.values() for area in values)
    least = min(max(values) for values in areas.values())
    return (
        f"**Training to the end** (the exact model of the members, suite `attacks`): {seen} of "
        f"{sum(map(len, areas.values()))} attacks on {len(areas)} HOLD models read .98 or more; on each model the best "
        f"reads {rate(least)} or more."
    )


PARTS: dict[str, Callable[[], str]] = {
    "hold-answers": answers,
    "hold-steps": equal_steps,
    "hold-distance": equal_distance,
    "hold-sufficient": sufficient,
}
