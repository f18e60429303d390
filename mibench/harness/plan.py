"""What is done, missing, stale or failed: a comparison of cells with records and artifacts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mibench.errors import MibenchError
from mibench.harness.cells import Cell
from mibench.harness.records import OutdatedError, Record, read_record, write_record
from mibench.harness.store import Store

__all__ = ["Plan", "State"]

State = Literal["done", "missing", "stale", "failed", "broken"]


@dataclass(frozen=True)
class Plan:
    """Cells, the folder of their records, and the store of their artifacts."""

    cells: list[Cell]
    records: Path
    store: Store

    def path(self, cell: Cell) -> Path:
        """Where the cell's record lies."""
        return self.records / cell.path

    def weights(self, cell: Cell) -> str | None:
        """The digest of the cell's stored model, None where there is none."""
        if not self.store.has("models", cell.model_key):
            return None
        return str(self.store.meta("models", cell.model_key)["digest"])

    def state(self, cell: Cell) -> tuple[State, str]:
        """Where a cell stands, and a word on why.

        A record is done if its key is what the cell's options, versions and weights give; without a stored model its own
        weights digest is believed, so that a fresh clone need not train what it has records of.
        """
        path = self.path(cell)
        if path.exists():
            try:
                record = read_record(path)
            except OutdatedError as error:
                return "stale", str(error)
            except MibenchError as error:
                return "broken", str(error)
            weights = self.weights(cell) or record.model["digest"]
            if record.model["key"] == cell.model_key and record.key == cell.key(weights):
                return "done", record.status
            return "stale", "its options, a version or the model's weights have changed"
        failure = self.failure(cell)
        if failure.exists():
            return "failed", json.loads(failure.read_text())["message"]
        return "missing", ""

    def failure(self, cell: Cell) -> Path:
        """Where the cell's last failure is noted."""
        return self.store.root / "failures" / f"{cell.key('')}.json"

    def log(self, cell: Cell, kind: str) -> Path:
        """Where the log of a cell's job (or of its model's) is kept."""
        name = cell.model_key if kind == "models" else cell.key("")
        return self.store.root / "logs" / f"{name}.log"

    def keep(self, cell: Cell, record: Record) -> None:
        """Write a record and forget the cell's failure."""
        write_record(self.path(cell), record)
        self.failure(cell).unlink(missing_ok=True)
