"""The table of audits with canaries."""

from __future__ import annotations

from collections.abc import Callable

from mibench.leaderboard.board import Board
from mibench.leaderboard.columns import Column, absent, build, missing_seeds, named, unfinished
from mibench.leaderboard.summaries import Spread
from mibench.leaderboard.text import Entry, Table
from mibench.results.figures import audit_bound

__all__ = ["audit_table"]

MODELS = {"trained": "trained", "exact": "exact (expect a large one)", "fresh": "of fresh data (expect 0)"}
"""What is said of each kind of model."""

AUDIT = Column[tuple[str, str]](
    ("model",),
    lambda row: (MODELS[row[1]],),
    "**Audit**: outliers (canaries) are trained on beside the members, each with probability 1/2, and the attack guesses "
    "of half of them whether they were. The table shows the lower bound at 95 % on the ε of pure differential privacy "
    "(δ = 0) that follows from the guesses of all seeds together, and how many of them are right (arXiv 2305.08846). It "
    "holds for one defense and audit at a time, and takes no samples for independent.",
)


def audit_table(board: Board, dataset: str) -> Table:
    """The lower bound on ε from each audit of each defense: a row for each audit and kind of model."""

    def bound(defense: str) -> Callable[[tuple[str, str]], Entry]:
        return lambda row: _bound(board.at(row[1]), (dataset, defense, row[0]))

    kinds = dict.fromkeys([board.model_kind, *MODELS])
    rows = [
        (audit, kind)
        for audit in board.audits(dataset)
        for kind in kinds
        if any((dataset, defense, audit) in board.at(kind).outcomes for defense in board.at(kind).defenses(dataset))
    ]
    columns = [Column(("audit",), lambda row: named(board, "attack", row[0])), AUDIT]
    return build([*columns, *(Column(named(board, "defense", d), bound(d)) for d in board.defenses(dataset))], rows)


def _bound(board: Board, cell: tuple[str, str, str]) -> Entry:
    """ε, and the right guesses of all seeds."""
    outcomes, audits = board.outcomes.get(cell, []), list(board.audited(*cell).values())
    if not audits:
        return absent(outcomes)
    right, guesses = sum(audit.correct for audit in audits), sum(audit.guesses for audit in audits)
    spread = Spread(tuple(audit.epsilon for audit in audits))
    seeds = missing_seeds(board, spread) if board.model_kind != "exact" else ""  # whose control is of one seed
    return (f"{audit_bound(audits):.2f} ({right} of {guesses}){seeds}", *unfinished(outcomes))
