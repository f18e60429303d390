"""Which defense, at what price? Of each defense on a dataset the model that leaks least at the baseline's utility."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mibench.leaderboard.board import Board, Worst
from mibench.leaderboard.claimed import Claimed, claims
from mibench.leaderboard.columns import Column, build, missing_seeds
from mibench.leaderboard.controls import Control, controls
from mibench.leaderboard.front import NEARER_A_GAUSSIAN
from mibench.leaderboard.regime import MOST
from mibench.leaderboard.summaries import Difference, mean_difference
from mibench.leaderboard.text import MISSING, Code, Entry, Strong, Table, number, rate, signed, span

__all__ = ["MATCHED_AND_INDEX", "TOLERANCE", "Choice", "choice_table", "choices"]

TOLERANCE = 1.1
"""A distance of at most so many times that of the baseline at its end, to two decimals, counts as the same utility."""

MATCHED_AND_INDEX = (
    "The index over all boards does not interpolate: it takes a checkpoint whose distance is at most "
    f"{TOLERANCE:g} times that of the baseline at its end, so the two can differ."
)
"""Why the AUROC at the baseline's distance on a board is not that of the index."""

DIGITS = 3
"""An interval that touches 0 at so many digits, as it is shown, is taken to contain it."""

FEW = 200
"""Fewer evaluated members over all seeds are said to be few."""


@dataclass(frozen=True)
class Choice:
    """A defense with one of its checkpoints.

    Attributes:
        defense: its label.
        step: of the checkpoint, 0 for the end of training.
        worst: its worst known attack there.
        distance: mean Fréchet distance of its samples there.
        ratio: of this distance to that of the baseline at its end.
        difference: how much more it leaks than the baseline at its end; None for that itself, or without a common seed. The
            intervals of all rows of a dataset hold at 95 % together (Bonferroni over all checkpoints chosen from).
        doubts: what makes it doubtful.
        path: of the record of its worst known attack, first seed.
    """

    defense: str
    step: int
    worst: Worst
    distance: float
    ratio: float
    difference: Difference | None
    doubts: tuple[str, ...]
    path: str

    @property
    def at_utility(self) -> bool:
        """Whether its samples are about as good as the baseline's."""
        return _is_near(self.ratio)

    @property
    def significant(self) -> bool:
        """Whether it leaks less than the baseline by more than chance."""
        return self.difference is not None and round(self.difference.interval[1], DIGITS) < 0


def _is_near(ratio: float) -> bool:
    """Whether a distance counts as that of the baseline, compared as it is shown."""
    return round(ratio, 2) <= TOLERANCE


def choices(board: Board, dataset: str) -> list[Choice]:
    """The baseline at its end, then the others: those at its utility first, in each part that which leaks least.

    Of the checkpoints of a defense at the baseline's utility the one that leaks least is chosen; without one, its end is
    taken. [] where the baseline was not measured.
    """
    base, reference = board.worst(dataset, board.baseline), board.spread("fd", dataset, board.baseline)
    if not base or not reference or reference.mean <= 0:
        return []
    best, looks = {}, 0
    for defense in board.defenses(dataset):
        found = list(_candidates(board, dataset, defense))
        near = [one for one in found if _is_near(one.distance / reference.mean)]
        looks += len(near) or 1
        if found:
            best[defense] = min(near, key=lambda one: one.worst.auroc.mean, default=found[-1])
    chooser = _Chooser(board, dataset, base, reference.mean, 1 - 0.05 / looks)
    rows = [chooser.choice(defense, one) for defense, one in best.items() if one.step or defense != board.baseline]
    rows.sort(key=lambda row: (not row.at_utility, bool(row.worst.unrun), row.worst.auroc.mean, row.distance))
    return [chooser.choice(board.baseline, _Candidate(0, base, reference.mean)), *rows]


@dataclass(frozen=True)
class _Candidate:
    """A checkpoint of a defense that has both figures."""

    step: int
    worst: Worst
    distance: float


def _candidates(board: Board, dataset: str, defense: str) -> Iterator[_Candidate]:
    """The checkpoints to choose from, the end last."""
    for step in board.checkpoints(dataset):
        view = board.at(board.model_kind, step)
        worst, distance = view.worst(dataset, defense), view.spread("fd", dataset, defense)
        if worst and distance:
            yield _Candidate(step, worst, distance.mean)


@dataclass(frozen=True)
class _Chooser:
    """Compares candidates with the baseline at its end: its worst known attack there, its distance, and the level."""

    board: Board
    dataset: str
    base: Worst
    reference: float
    level: float

    def choice(self, defense: str, one: _Candidate) -> Choice:
        board, dataset = self.board, self.dataset
        view = board.at(board.model_kind, one.step)
        ours = view.metrics(dataset, defense, one.worst.attack)
        theirs = board.metrics(dataset, board.baseline, self.base.attack)
        pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        is_reference = defense == board.baseline and not one.step
        comparable = (
            pairs and not is_reference and one.worst.unrun == self.base.unrun and not self._missing(view, defense)
        )
        difference = mean_difference(pairs, self.level) if comparable else None
        doubts = tuple(self._doubts(view, defense, one))
        path = view.values("path")[dataset, defense, one.worst.attack][0]
        return Choice(
            defense, one.step, one.worst, one.distance, one.distance / self.reference, difference, doubts, path
        )

    def _doubts(self, view: Board, defense: str, one: _Candidate) -> Iterator[str]:
        """What makes the figures of one model doubtful, in words."""
        dataset, attack = self.dataset, one.worst.attack
        if one.step:
            yield f"stopped after {one.step} steps, chosen in hindsight"
        if not _is_near(ratio := one.distance / self.reference):
            yield f"not at the baseline's utility: FD {ratio:.2f} times as large"
        fraction = view.spread("fraction", dataset, defense)
        if fraction and fraction.mean > NEARER_A_GAUSSIAN:
            yield "does not generate" if fraction.mean > 1 else "hardly generates"
        if one.worst.auroc.mean > MOST:
            yield "saturated"
        if without := [*one.worst.unrun, *(a for a in self._missing(view, defense) if a not in one.worst.unrun)]:
            yield f"no result of {', '.join(without)} yet"
        if unmet := view.unmet(dataset, defense):
            parts = "" if list(unmet) == [defense] else f" against {', '.join(unmet)}"
            names = sorted({name for several in unmet.values() for name in several})
            yield f"adversary not run{parts}" + (f" ({', '.join(names)})" if names else "")
        if (claimed := self._claims.get((dataset, defense))) and claimed.broken:
            yield "its claim of privacy is broken"
        if (control := self._controls.get(attack)) and control.significant:
            yield f"{attack} differs from .5 on fresh data"
        metrics = view.metrics(dataset, defense, attack).values()
        members = sum(found.members for found in metrics)
        if len(metrics) < 2 or members < FEW:
            yield f"few samples: {members} members in {len(metrics)} seed{'s' * (len(metrics) != 1)}"
        if missing := missing_seeds(view, one.worst.auroc).strip(" ()"):
            yield f"{missing} seeds so far"
        outcomes = [found for cell, found in view.outcomes.items() if cell[:2] == (dataset, defense)]
        if failed := sum(status == "failed" for found in outcomes for status, _ in found):
            yield f"{failed} cell{'s' * (failed != 1)} failed"

    def _missing(self, view: Board, defense: str) -> list[str]:
        """Attacks of the suite that have a result on the baseline at its end and none on a defense in this view."""
        ours, its = view.values("record"), self.board.values("record")
        cells = [
            ((self.dataset, self.board.baseline, a), (self.dataset, defense, a), a) for a in self.board.suite.attacks
        ]
        return [attack for base, cell, attack in cells if base in its and cell not in ours]

    @cached_property
    def _claims(self) -> dict[tuple[str, str], Claimed]:
        return claims(self.board)

    @cached_property
    def _controls(self) -> dict[str, Control]:
        return controls(self.board, self.dataset)


def choice_table(board: Board, dataset: str, folder: Path) -> Table:
    """The choices on a dataset.

    Args:
        board: the board.
        dataset: one of its.
        folder: of the suite, as a command names it.
    """

    def name(row: Choice) -> Entry:
        return (Code(row.defense), " (baseline)" if row.defense == board.baseline and not row.step else "")

    def area(row: Choice) -> Entry:
        return (Strong(rate(row.worst.auroc.mean)), f" {span(row.worst.interval, rate)} ", Code(row.worst.attack))

    def change(row: Choice) -> Entry:
        if not row.difference:
            return (MISSING,)
        low, high = row.difference.interval
        words = "significant" if round(low, DIGITS) > 0 or row.significant else "not significant"
        return (f"{signed(row.difference.mean)} {span((low, high), signed)}, {words}",)

    columns: list[Column[Choice]] = [
        Column(("defense",), name),
        Column(("worst known AUROC",), area),
        Column(("difference from ", Code(board.baseline), " (95 % together)"), change),
        Column(("FD",), lambda row: (f"{number(row.distance)} ({row.ratio:.2f} ×)",)),
        Column(("reservations",), lambda row: ("; ".join(row.doubts) or "none",)),
        Column(("one of its cells again",), lambda row: (Code(f"mibench run --record {folder / row.path}"),)),
    ]
    return build(columns, choices(board, dataset))
