"""The state of each cell of a suite: done, missing, stale, outdated, failed or broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mibench.errors import MibenchError, one_line
from mibench.results.facts import CellFacts, ModelFacts
from mibench.results.record import Record, read_record, unreadable, write_record
from mibench.results.store import Store
from mibench.results.upgrade import upgrade_record
from mibench.suite.cells import Cell

__all__ = ["Plan", "State"]

State = Literal["done", "missing", "stale", "outdated", "failed", "broken"]

# An absolute path up to its last part. The lookbehind leaves fractions and web addresses alone.
FOLDERS = re.compile(r"(?<![\w/:.])(?:/[\w.+@~-]+)+/(?=[\w.+@~-])")


@dataclass(frozen=True)
class Plan:
    """Cells, the folder of their records, and the store of their artifacts."""

    cells: list[Cell]
    records: Path
    store: Store

    def path(self, cell: Cell) -> Path:
        """The path of the cell's record."""
        return self.records / cell.path

    def weights(self, cell: Cell) -> str | None:
        """The digest of the cell's stored model; None where it is not stored."""
        if not self.store.has("models", cell.model_key):
            return None
        return str(self.store.meta("models", cell.model_key)["digest"])

    def states(self) -> list[tuple[State, str]]:
        """``state`` of every cell, in order; the digest of each model is read once."""
        known: dict[str, str | None] = {}

        def weights(cell: Cell) -> str | None:
            if cell.model_key not in known:
                known[cell.model_key] = self.weights(cell)
            return known[cell.model_key]

        return [self.state(cell, weights) for cell in self.cells]

    def state(self, cell: Cell, weights: Callable[[Cell], str | None] | None = None) -> tuple[State, str]:
        """The state of a cell, and the reason for it.

        A record is valid if its key follows from the cell's options, versions and weights. Where the model is not stored,
        the digest in the record is used, so that a fresh clone need not train models whose records it has.
        """
        path = self.path(cell)
        if not path.exists():
            return "missing", ""
        try:
            record = read_record(path, outdated=True)
        except MibenchError as error:
            return "broken", str(error)
        digest = (weights or self.weights)(cell) or record.model.digest
        if record.model.key != cell.model_key or record.key != cell.key(digest):
            return "stale", "its options, a version or the model's weights have changed"
        if record.status in ("failed", "outdated"):
            return record.status, record.reason or ""
        return "done", record.status

    @staticmethod
    def refuse_broken(states: list[tuple[State, str]]) -> None:
        """MibenchError where the record of a cell cannot be read."""
        if reasons := [why for state, why in states if state == "broken"]:
            raise unreadable(reasons)

    def upgrade(self, cells: list[Cell]) -> int:
        """Upgrade the outdated records of cells, unless stored scores give all figures anew; how many were upgraded."""
        upgraded = 0
        for path in map(self.path, cells):
            with suppress(MibenchError):
                record = upgrade_record(path)
                if record and not self.store.has("scores", record.key):
                    write_record(path, record)
                    upgraded += 1
        return upgraded

    def failure(self, cell: Cell, reason: str) -> Record:
        """The record of a cell that failed; folders of this machine are removed from the reason."""
        weights = None
        with suppress(MibenchError):
            weights = self.weights(cell)
        return Record(
            key=cell.key(weights or ""),
            status="failed",
            reason=FOLDERS.sub("", one_line(reason)),
            labels=cell.labels,
            cell=CellFacts(**cell.spec()),
            model=ModelFacts(key=cell.model_key, digest=weights or ""),
            seconds=0.0,
        ).sealed()

    def log(self, cell: Cell, kind: str, alone: bool = False) -> Path:
        """The log of a cell's job ("measure") or of its model's ("models"); a retry alone has a log of its own."""
        name = (cell.model_key if kind == "models" else cell.key("")) + ("-alone" if alone else "")
        return self.store.root / "logs" / f"{name}.log"
