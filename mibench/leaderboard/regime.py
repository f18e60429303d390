"""Whether a board can tell defenses apart: its baseline must generate, and must leak neither everything nor nothing."""

from __future__ import annotations

from dataclasses import dataclass

from mibench.leaderboard.board import Board
from mibench.leaderboard.front import NEARER_A_GAUSSIAN
from mibench.leaderboard.text import rate

__all__ = ["LEAST", "MOST", "Regime", "never_informative", "regimes", "reservations"]

LEAST, MOST = 0.6, 0.95
"""Worst known AUROCs of the baseline between which defenses can be told apart."""


@dataclass(frozen=True)
class Regime:
    """The baseline after some steps of training.

    Attributes:
        steps: after which it was measured, 0 for the end.
        fraction: mean over the seeds, see the column of that name; None where it has none.
        auroc: its worst known AUROC, mean over the seeds.
    """

    steps: int
    fraction: float | None
    auroc: float

    @property
    def flaws(self) -> tuple[str, ...]:
        """Why defenses can hardly be told apart here; () where they can."""
        found = []
        if self.fraction is not None and self.fraction > NEARER_A_GAUSSIAN:
            found.append("hardly generates")
        if self.auroc > MOST:
            found.append("saturated")
        if self.auroc < LEAST:
            found.append("hardly leaks")
        return tuple(found)

    def __str__(self) -> str:
        where = f"step {self.steps}" if self.steps else "end"
        fraction = "n/a" if self.fraction is None else rate(self.fraction)
        return (
            f"{where}: fraction {fraction}, worst AUROC {rate(self.auroc)}, {' and '.join(self.flaws) or 'informative'}"
        )


def regimes(board: Board, dataset: str) -> list[Regime]:
    """The baseline at each checkpoint that has a worst known attack, the end last."""
    found = []
    for steps in board.checkpoints(dataset):
        view = board.at(board.model_kind, steps)
        if worst := view.worst(dataset, board.baseline):
            fraction = view.spread("fraction", dataset, board.baseline)
            found.append(Regime(steps, fraction.mean if fraction else None, worst.auroc.mean))
    return found


def never_informative(board: Board, dataset: str) -> str:
    """Why no checkpoint of the baseline can tell defenses apart, as "is saturated"; "" where one can or none was measured."""
    found = [regime.flaws for regime in regimes(board, dataset)]
    if not all(found):
        return ""
    flaws = dict.fromkeys(flaw for several in found for flaw in several)
    always = all(len(several) == len(flaws) for several in found)
    return (" and " if always else " or ").join("is saturated" if flaw == "saturated" else flaw for flaw in flaws)


def reservations(board: Board, dataset: str) -> list[str]:
    """What a reader must know before comparing defenses: a baseline that is never informative, and rows that cannot be ranked."""
    lines = []
    if never_informative(board, dataset):
        found = "; ".join(map(str, regimes(board, dataset)))
        lines.append(
            f"**`{board.baseline}` is never informative on {dataset}** ({found}): where the baseline hardly "
            "generates, is saturated or hardly leaks, defenses can hardly be told apart."
        )
    saturated, broken = [], []
    for defense in board.defenses(dataset):
        worst, fraction = board.worst(dataset, defense), board.spread("fraction", dataset, defense)
        if worst and worst.auroc.mean > MOST:
            saturated.append(f"`{defense}`")
        if fraction and fraction.mean > 1:
            broken.append(f"`{defense}`")
    if saturated:
        lines.append(
            f"**Saturated on {dataset}** (worst known AUROC above {rate(MOST)[:3]}, so that little tells them apart): "
            f"{', '.join(saturated)}."
        )
    if broken:
        lines.append(
            f"**Not generating on {dataset}** (farther from the data than a Gaussian, so that what they hide is no merit): "
            f"{', '.join(broken)}."
        )
    return lines
