"""Columns of tables, and the entries that several tables have: names, figures, why a figure is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mibench.leaderboard.board import DONE, Board
from mibench.leaderboard.summaries import Spread
from mibench.leaderboard.text import MISSING, Code, Entry, Footnote, Table

__all__ = ["ADVERSARY_NOT_RUN", "Column", "absent", "build", "figure", "missing_seeds", "named", "unfinished"]

R = TypeVar("R")
Outcomes = Iterable[tuple[str, str | None]]

ADVERSARY_NOT_RUN = (
    "against the defense, or against one of its measures, none of the attacks was run that were made for it or that it "
    "names"
)
"""What † says, in the same words wherever it is explained."""

UNLISTED = "It is not in the suite's list."
UNKNOWN = "Its records may be stale. It is not registered, so that its version could not be checked."


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column of a table.

    Attributes:
        header: what stands on top.
        entry: what stands in a row.
        explanation: its paragraph in the guide, in Markdown; "" for a column that needs none.
    """

    header: Entry
    entry: Callable[[R], Entry]
    explanation: str = ""


def build(columns: Sequence[Column[R]], rows: Iterable[R]) -> Table:
    """The table of these columns and rows."""
    explanations = tuple(dict.fromkeys(column.explanation for column in columns if column.explanation))
    return Table([c.header for c in columns], [[c.entry(row) for c in columns] for row in rows], explanations)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def named(board: Board, kind: str, label: str) -> Entry:
    """The name of a defense or an attack, with a footnote where the suite does not list it or it is not registered."""
    notes = [] if board.selection.is_listed(kind, label) else [UNLISTED]
    notes += [UNKNOWN] if (kind, label) in board.selection.unknown_labels else []
    return (Code(label), *map(Footnote, notes))


# ── entries that say why a figure is missing ──────────────────────────────────────────────────────────────────────────
def figure(board: Board, cell: tuple[str, str, str], spread: Spread | None, show: Callable[[Spread], str]) -> Entry:
    """A figure of a cell, with the number of seeds where some are missing, and the reasons."""
    outcomes = board.outcomes.get(cell, [])
    if spread is None:
        return absent(outcomes)
    return (show(spread) + missing_seeds(board, spread), *_reasons(outcomes, "n/a"), *unfinished(outcomes))


def missing_seeds(board: Board, spread: Spread) -> str:
    """How many of the seeds have a figure, where it is not all."""
    seeds = len(board.suite.seeds)
    return f" ({len(spread.values)}/{seeds})" if len(spread.values) < seeds else ""


def absent(outcomes: Outcomes) -> Entry:
    """What stands where no record has a figure: n/a, failed, or a dash if nothing was run."""
    outcomes = list(outcomes)
    other = unfinished(outcomes)
    if any(status in DONE for status, _ in outcomes):
        return ("n/a", *_reasons(outcomes, "n/a"), *other)
    return (other[0].strip(), *other[1:]) if other else (MISSING,)


def unfinished(outcomes: Outcomes) -> Entry:
    """The marks of cells that failed or whose records are outdated; empty where there are none."""
    reasons = {status: _reasons(outcomes, status) for status in ("failed", "outdated")}
    return tuple(piece for status, found in reasons.items() if found for piece in (f" {status}", *found))


def _reasons(outcomes: Outcomes, status: str) -> Entry:
    """The different reasons of the records with this status."""
    reasons = (" ".join(reason.split()) for of, reason in outcomes if of == status and reason)
    return tuple(Footnote(reason) for reason in dict.fromkeys(reasons))
