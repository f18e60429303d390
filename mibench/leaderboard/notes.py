"""Cells of the tables and the footnotes that they lead to."""

from __future__ import annotations

from collections.abc import Callable

from mibench.leaderboard.tables import Board, Spread
from mibench.leaderboard.text import MISSING
from mibench.results.record import Record

__all__ = ["Notes"]


class Notes:
    """The footnotes of a page, numbered as its cells first need them."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.reasons: list[str] = []

    def cell(self, dataset: str, defense: str, attack: str, found: Spread | None, show: Callable[[Spread], str]) -> str:
        """A spread, marked where seeds are lacking, with the reasons of those that do not apply or failed."""
        records = self.board.told(dataset, defense, attack)
        if found is None:
            return self.absent(records)
        return show(found) + self.lacking(found) + self._marks(records, "n/a") + self.failed(records)

    def lacking(self, found: Spread) -> str:
        """How many seeds there are, where it is not all."""
        seeds = len(self.board.suite.seeds)
        return f" ({len(found.values)}/{seeds})" if len(found.values) < seeds else ""

    def absent(self, records: list[Record]) -> str:
        """What stands for a number that none of the records has."""
        ended = "n/a" + self._marks(records, "n/a") if any(r.status != "failed" for r in records) else ""
        return (ended + self.failed(records)).strip() or MISSING

    def text(self) -> str:
        """The footnotes."""
        return "\n".join(f"[^{i}]: {reason}" for i, reason in enumerate(self.reasons, 1))

    def failed(self, records: list[Record]) -> str:
        """The mark of records that failed, nothing where none has."""
        marks = self._marks(records, "failed")
        return f" failed{marks}" if marks else ""

    def _marks(self, records: list[Record], status: str) -> str:
        return "".join(dict.fromkeys(self._note(r.reason) for r in records if r.status == status and r.reason))

    def _note(self, reason: str) -> str:
        reason = " ".join(reason.split())
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"[^{self.reasons.index(reason) + 1}]"
