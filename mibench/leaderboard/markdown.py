"""The README of a leaderboard: a pure function of the suite's file and its records, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mibench.kinds import Tier
from mibench.leaderboard.details import settings, sizes, took, training, versions
from mibench.leaderboard.guide import GUIDE, KERNEL
from mibench.leaderboard.notes import Notes
from mibench.leaderboard.tables import PLOT, Board, Spread, matched, open_board, spread
from mibench.leaderboard.text import MISSING, code, distinct, number, numbers, rate, rates, signed, span, table
from mibench.metrics.headings import heading, kernel_heading
from mibench.results.figures import AttackMetrics, UtilityMetrics
from mibench.results.folder import UTILITY
from mibench.suite.suite import suite_name

__all__ = ["check", "render"]

FPRS = ("0.001", "0.01", "0.1")

Measure = tuple[str, Callable[[UtilityMetrics], float | None], Callable[[Spread], str]]

ACCESS = {
    "samples": "samples",
    "network": "network",
    "weights": "weights",
    "shadows": "shadow models",
}


def render(folder: Path, board: Board | None = None) -> str:
    """The README of a suite, whose board is read unless it is given.

    Raises:
        MibenchError: where the suite or a record cannot be read.
    """
    return _Page(board or open_board(folder), suite_name(folder)).text()


def check(folder: Path) -> str | None:
    """None where the README is what ``render`` gives, else one line on the difference."""
    path, suite = folder / "README.md", suite_name(folder)
    remedy = f"run `mibench leaderboard {suite}`"
    if not path.is_file():
        return f"{path} is missing; {remedy}"
    wanted, found = render(folder), path.read_bytes().decode(errors="replace")
    if wanted == found:
        return None
    lines = found.split("\n"), wanted.split("\n")
    same = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    return f"{path} differs from its records at line {same + 1}; {remedy}"


@dataclass
class _Page:
    board: Board
    name: str

    def __post_init__(self) -> None:
        self.notes = Notes(self.board)

    def text(self) -> str:
        """The whole page."""
        board, suite = self.board, self.board.suite
        commands = f"```\nmibench run {self.name}\nmibench leaderboard {self.name}\n```"
        if not board.kinds:
            return "\n\n".join([f"# {suite.title}", suite.description.strip(), "**Not yet run.**", commands]) + "\n"
        done, expected = board.progress
        status = f"{done} of {expected} records are there."
        if suite.model != "trained":
            status += f" All models are {suite.model} ones."
        if board.strange:
            counts = ", ".join(f"{count} of {what}" for what, count in sorted(board.strange.items()))
            status += f" Not shown, since the suite does not ask for them: {counts}."
        status += f" {board.beside} of checkpoints and controls are beside them." if board.beside else ""
        parts = [f"# {suite.title}", self._warnings(), suite.description.strip(), status]
        parts += (
            [f"![Worst known AUROC against FD along each training]({PLOT})"] if len(board.checkpoints()) > 1 else []
        )
        for dataset in board.datasets():
            parts += [f"## {dataset}", self._main(dataset)]
            if along := self._along(dataset):
                parts += [f"### {dataset} along the training", along]
            if controls := self._controls(dataset):
                parts += [f"### Controls of {dataset}", controls]
            parts += [f"### Settings of {dataset}", settings(board, self.notes, dataset)]
            parts += [f"### Cost and training of {dataset}", training(board, dataset)]
        guide = GUIDE.format(seeds=", ".join(map(str, suite.seeds)), missing=MISSING)
        if any(u.kid is not None for dataset in board.datasets() for u in board.utilities(dataset)):
            guide += f"\n{KERNEL}"
        parts += ["## How to read this", guide, sizes(board)]
        parts += ["## Reproduce", commands, took(board), versions(board)]
        parts += [self.notes.text()]
        return "\n\n".join(part for part in parts if part) + "\n"

    # ── the main table ────────────────────────────────────────────────────────────────────────────────────────────
    def _main(self, dataset: str) -> str:
        board, tiers = self.board, self.board.tiers(dataset)
        baseline = self._baseline(dataset)
        found = [
            m
            for d in board.defenses(dataset)
            if (w := board.worst(dataset, d))
            for m in board.attacked(dataset, d, w.attack)
        ]
        fpr = next((f for f in FPRS if all(_tpr(m, f) is not None for m in found)), FPRS[-1])
        percent = f"{100 * float(fpr):g}"
        header = ["defense", *(f"worst known attack: **{ACCESS[tier]}**" for tier in tiers)]
        header += [f"more than {code(baseline)}", f"TPR@{percent}%FPR", "accuracy at FPR", "ε ≥"]
        measures = self._measures(dataset)
        header += [name for name, _, _ in measures]
        rows = []
        for defense in board.defenses(dataset):
            worst, change = board.worst(dataset, defense), board.difference(dataset, defense, baseline)
            flags = " †" if worst and not board.adaptive(dataset, defense) else ""
            flags += " ▲" if self._leaks_more(dataset, defense, baseline) else ""
            row = [code(defense) + flags, *(self._worst(dataset, defense, tier) for tier in tiers)]
            row.append(f"{signed(change.mean)} {span(change.interval, signed)}" if change else MISSING)
            if worst:
                metrics = board.attacked(dataset, defense, worst.attack)
                tpr = spread(metrics, lambda m: _tpr(m, fpr))
                row.append(
                    self.notes.cell(dataset, defense, worst.attack, tpr, rates) + (f" @{percent}%" if tpr else "")
                )
                accuracy = spread(metrics, lambda m: m.calibrated.fixed.accuracy.value)
                false = spread(metrics, lambda m: m.calibrated.fixed.fpr)
                leak = spread(metrics, lambda m: m.calibrated.fixed.epsilon)
                row.append(f"{rates(accuracy)} at {rate(false.mean)}" if accuracy and false else MISSING)
                row.append(f"{leak.mean:.2f}" if leak else MISSING)
            else:
                row += [MISSING] * 3
            rows.append(row + self._utility(dataset, defense, measures))
        parts = [table(header, rows), self._adaptive(dataset), *(_why(found, f) for f in FPRS)]
        attacks = board.attacks(dataset)
        defenses = board.defenses(dataset)
        rows = [
            [code(a), *(self.notes.cell(dataset, d, a, board.auroc(dataset, d, a), rates) for d in defenses)]
            for a in attacks
        ]
        parts += ["Calibrated AUROC of each attack.", table(["attack", *map(code, defenses)], rows)]
        return "\n\n".join(part for part in parts if part)

    def _adaptive(self, dataset: str) -> str:
        """The adaptive attacks that each defense has met, for a reader to judge."""
        met = {defense: self.board.adaptive(dataset, defense) for defense in self.board.defenses(dataset)}
        told = (f"{code(defense)}: {', '.join(map(code, attacks)) or 'none'}" for defense, attacks in met.items())
        return f"Adaptive attacks met: {'; '.join(told)}." if any(met.values()) else ""

    def _baseline(self, dataset: str) -> str:
        return self.board.suite.baseline or self.board.defenses(dataset)[0]

    def _worst(self, dataset: str, defense: str, tier: Tier) -> str:
        found = self.board.worst(dataset, defense, tier)
        if not found:
            return MISSING
        area = f"**{rate(found.area.mean)}**{self.notes.lacking(found.area)} {span(found.interval, rate)}"
        return f"{area} {code(found.attack)}" + (f", null {rate(found.null)}" if found.null is not None else "")

    def _leaks_more(self, dataset: str, defense: str, baseline: str) -> bool:
        """Whether a defense leaks more than the baseline where it has come down to the baseline's final distance."""
        end = self.board.path(dataset, baseline)[-1:]
        area = matched(self.board.path(dataset, defense), end[0][1]) if end and defense != baseline else None
        return area is not None and area > end[0][2]

    # ── along the training ────────────────────────────────────────────────────────────────────────────────────────
    def _along(self, dataset: str) -> str:
        """Privacy and utility at every checkpoint, and at the baseline's distances."""
        board, baseline = self.board, self._baseline(dataset)
        if len(board.checkpoints(dataset)) < 2:
            return ""
        names = [f"step {step}" if step else "end" for step in board.checkpoints(dataset)]
        paths = {defense: board.path(dataset, defense) for defense in board.defenses(dataset)}
        rows = []
        for defense, path in paths.items():
            at = {step: f"{rate(area)} at {number(distance)}" for step, distance, area in path}
            rows.append([code(defense), *(at.get(step, MISSING) for step in board.checkpoints(dataset))])
        parts = [
            "Largest calibrated AUROC of the attacks, at the distance (FD) that the model then has, after equal training."
        ]
        parts.append(table(["defense", *names], rows))
        marks = [(step, distance) for step, distance, _ in paths[baseline]]
        rows = []
        for defense, path in paths.items():
            areas = [matched(path, distance) for _, distance in marks]
            if defense == baseline:
                areas = [area for _, _, area in path]
            rows.append([code(defense), *(rate(a) if a is not None else "does not get there" for a in areas)])
        header = [f"{number(distance)} ({f'step {step}' if step else 'end'})" for step, distance in marks]
        parts.append(
            f"The same where each training first comes down to the distances that {code(baseline)} has at its checkpoints, "
            "linear between checkpoints; before the first checkpoint, its AUROC there."
        )
        parts.append(table(["defense", *header], rows))
        return "\n\n".join(parts)

    # ── controls ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _controls(self, dataset: str) -> str:
        """What the attacks reach where the answer is known."""
        rows = []
        for attack, found in self.board.controls(dataset).items():
            row = [code(attack)]
            for kind, area in (("exact", found.exact), ("fresh", found.fresh)):
                told = self.board.at(kind).told(dataset, attack=attack)
                row.append(rate(area) + self.notes.failed(told) if area is not None else self.notes.absent(told))
            outside, family = found.outside
            row.append(f"{outside} of {family}" if family else MISSING)
            rows.append([*row, rate(found.shuffled) if found.shuffled is not None else MISSING])
        header = [
            "attack",
            "exact model (least)",
            "fresh data (farthest from .5)",
            "outside at 99 %",
            "labels shuffled",
        ]
        return table(header, rows) if rows else ""

    def _warnings(self) -> str:
        """What a reader must know first: cells that failed, a blind classifier that sees members, controls that fail."""
        lines = []
        if failed := self.board.failed:
            lines.append(
                f"**{failed} cell{'s' * (failed > 1)} failed**, and no figure holds them: what they were to measure may be "
                "worse than it looks."
            )
        for dataset in self.board.datasets():
            outside = {attack: found.outside[0] for attack, found in self.board.controls(dataset).items()}
            blind = [attack for attack in outside if attack in self.board.blind(dataset)]
            if any([outside.pop(attack) for attack in blind]):
                lines.append(
                    f"**The split of {dataset} is not clean**: a classifier that never sees a model tells members from "
                    "non-members. No AUROC on it can be read as leakage."
                )
            if wrong := [code(attack) for attack, count in outside.items() if count]:
                lines.append(f"**On fresh data of {dataset}, where .5 is right, {', '.join(wrong)} leave it at 99 %.**")
        return "\n\n".join(lines)

    def _measures(self, dataset: str) -> list[Measure]:
        """How samples are measured: headings, what each is of a record, how it is shown; only what some record has."""
        found = self.board.utilities(dataset)
        space, n = distinct(u.space for u in found), distinct(u.n for u in found)
        further = distinct(u.inception.space for u in found if u.inception)

        def fraction(values: Spread) -> str:
            return rate(values.mean) + (" does not generate" if values.mean > 1 else "")

        measures: list[Measure] = [
            (f"{heading(space)} ({space}, n = {n})" if found else "FD", lambda u: u.distance, numbers)
        ]
        if any(u.kid is not None for u in found):
            measures.append((kernel_heading(space), lambda u: u.kid, numbers))
        if further != MISSING:
            measures += [
                (f"{heading(further)} ({further})", lambda u: u.inception.distance if u.inception else None, numbers),
                (f"{kernel_heading(further)} ({further})", lambda u: u.inception.kid if u.inception else None, numbers),
            ]
        return [
            *measures,
            ("fraction", lambda u: u.fraction, fraction),
            ("copied", lambda u: u.copied, lambda values: f"{100 * values.mean:.1f} %"),
        ]

    def _utility(self, dataset: str, defense: str, measures: list[Measure]) -> list[str]:
        """A defense's samples, measured in each way; a dash where they were not measured in one."""
        sampled, row = self.board.utilities(dataset, defense), []
        for _, read, show in measures:
            values = spread(sampled, read)
            lacks = values is None and bool(sampled)
            row.append(MISSING if lacks else self.notes.cell(dataset, defense, UTILITY, values, show))
        return row


def _tpr(metrics: AttackMetrics, fpr: str) -> float | None:
    """The true positive rate at the calibrated setting."""
    estimate = metrics.calibrated.tpr.get(fpr)
    return estimate.value if estimate else None


def _why(metrics: Iterable[AttackMetrics], fpr: str) -> str:
    """Why a true positive rate is not given, nothing where it is."""
    estimates = (m.calibrated.tpr.get(fpr) for m in metrics)
    reasons = {e.reason for e in estimates if e and e.value is None and e.reason}
    return f"TPR@{100 * float(fpr):g}%FPR is n/a: {'; '.join(sorted(reasons))}." if reasons else ""
