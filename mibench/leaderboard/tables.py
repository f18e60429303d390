"""Records → what the tables show: which cells there are, means over seeds, the worst known attack."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mibench.errors import MibenchError
from mibench.harness.records import AttackMetrics, Record, UtilityMetrics, read_record
from mibench.harness.suite import Suite, load_suite

__all__ = ["UTILITY", "Board", "Spread", "lacking", "load", "open_board", "spread"]

UTILITY = "utility"
T = TypeVar("T")


def lacking(record: Record) -> list[str]:
    """What a record must hold to be shown, but does not."""
    needs = {
        "labels": ("dataset", "defense", "attack"),
        "cell": ("seed", "model"),
        "model": ("key", "digest"),
        "split": ("fingerprint", "members", "nonmembers", "reference", "near_duplicates"),
        "cost": ("forwards", "vjps"),
    }
    missing = [f"{part}.{name}" for part, names in needs.items() for name in names if name not in getattr(record, part)]
    if record.status == "n/a" and not record.reason:
        missing.append("reason")
    wanted = UTILITY if record.labels.get("attack") == UTILITY else "attack"
    if record.status == "done" and getattr(record, wanted) is None:
        missing.append(wanted)
    return missing


def load(folder: Path) -> list[tuple[Path, Record]]:
    """Every record of a suite's folder, sorted by path.

    Raises:
        MibenchError: where a record cannot be read, was edited, or lacks something; the file is named.
    """
    found = []
    for path in sorted((folder / "records").rglob("*.json")):
        record = read_record(path)
        if missing := lacking(record):
            raise MibenchError(f"{path} lacks {', '.join(missing)}; delete it and run the suite again")
        found.append((path, record))
    return found


@dataclass(frozen=True)
class Spread:
    """Numbers of several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation, None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Board:
    """A suite with the records that belong to it.

    Attributes:
        suite: what the suite file says.
        cells: records by dataset, defense and attack ("utility" for measures of samples), in the order of the seeds.
        further: how many records are of a seed or a kind of model that the suite does not ask for, and are not shown.
    """

    suite: Suite
    cells: dict[tuple[str, str, str], list[Record]]
    further: int

    @property
    def progress(self) -> tuple[int, int]:
        """How many of the suite's records are there, and how many there should be."""
        suite = self.suite
        expected = [(s, d, a) for s in suite.datasets for d in suite.defenses for a in (UTILITY, *suite.attacks)]
        return sum(len(self.cells.get(cell, ())) for cell in expected), len(expected) * len(suite.seeds)

    def datasets(self) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.datasets, (cell[0] for cell in self.cells))

    def defenses(self, dataset: str) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.defenses, (cell[1] for cell in self.cells if cell[0] == dataset))

    def attacks(self, dataset: str) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.attacks, (a for d, _, a in self.cells if d == dataset and a != UTILITY))

    def records(self, dataset: str, defense: str | None = None, attack: str | None = None) -> list[Record]:
        """The records of a dataset, of one defense and of one attack where they are given."""
        wanted = (dataset, defense, attack)
        return [
            record
            for cell, records in self.cells.items()
            if all(want in (None, part) for want, part in zip(wanted, cell, strict=True))
            for record in records
        ]

    def attacked(self, dataset: str, defense: str, attack: str) -> list[AttackMetrics]:
        """The metrics of an attack, seed by seed; those that do not apply are left out."""
        return [r.attack for r in self.cells.get((dataset, defense, attack), ()) if r.attack]

    def utilities(self, dataset: str, defense: str | None = None) -> list[UtilityMetrics]:
        """The measures of samples, seed by seed."""
        return [r.utility for r in self.records(dataset, defense, UTILITY) if r.utility]

    def auroc(self, dataset: str, defense: str, attack: str, choice: str = "calibrated") -> Spread | None:
        """The AUROC at the published, calibrated or oracle setting, None without one."""
        return spread(self.attacked(dataset, defense, attack), lambda m: getattr(m, choice).auroc.value)

    def worst(self, dataset: str, defense: str) -> str | None:
        """The attack with the largest mean calibrated AUROC: the one column chosen on the samples it is reported on."""
        known = {a: s.mean for a in self.attacks(dataset) if (s := self.auroc(dataset, defense, a))}
        return max(known, key=lambda attack: known[attack]) if known else None


def spread(items: Iterable[T], number: Callable[[T], float | None]) -> Spread | None:
    """A number of each item, those without it left out; None where none has it."""
    values = tuple(value for item in items if (value := number(item)) is not None)
    return Spread(values) if values else None


def _ordered(first: list[str], others: Iterable[str]) -> list[str]:
    return [*first, *sorted(set(others) - set(first))]


def open_board(folder: Path) -> Board:
    """Read a suite and its records.

    Raises:
        MibenchError: where either cannot be read.
    """
    suite = load_suite(str(folder)).suite
    cells: dict[tuple[str, str, str], list[Record]] = {}
    records = [record for _, record in load(folder)]
    shown = [r for r in records if r.cell["model"] == suite.model and r.cell["seed"] in suite.seeds]
    for record in sorted(shown, key=lambda r: suite.seeds.index(r.cell["seed"])):
        labels = record.labels
        cells.setdefault((labels["dataset"], labels["defense"], labels["attack"]), []).append(record)
    return Board(suite, dict(sorted(cells.items())), len(records) - len(shown))
