"""Compute the cells of records again, and compare the results: for ``mibench verify`` and ``mibench run --record``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mibench.jobs.engine import Engine
from mibench.jobs.options import JobOptions, OnEvent
from mibench.jobs.scheduler import Scheduler
from mibench.jobs.stop import Stop
from mibench.results.compare import Verdict, compare
from mibench.results.record import Record, read_record
from mibench.suite.cells import Cell
from mibench.suite.plan import Plan

__all__ = ["Comparison", "repeat"]


@dataclass(frozen=True)
class Comparison:
    """A record compared with that of the same cell computed again.

    Attributes:
        cell: of both.
        path: of the new record.
        verdict: "failed" where the cell could not be computed.
        reason: in words.
    """

    cell: Cell
    path: Path
    verdict: Verdict | Literal["failed"]
    reason: str

    @property
    def sound(self) -> bool:
        """Whether the figures agree."""
        return self.verdict in ("same", "agrees")


def repeat(
    old: dict[Cell, Record], plan: Plan, engine: Engine, options: JobOptions, on_event: OnEvent, stop: Stop
) -> list[Comparison]:
    """Compute cells, whether they have a record or not, and compare each with its old record.

    Args:
        old: the records.
        plan: of the same cells, with the folder of the new records and the store, where artifacts at hand are used.
        engine, options, on_event, stop: see ``mibench.jobs.run.run_suite``.
    """
    failures = Scheduler(plan, plan.cells, engine, options, on_event, stop).run()
    comparisons = []
    for cell in plan.cells:
        if cell in failures:
            comparisons.append(Comparison(cell, plan.path(cell), "failed", failures[cell]))
        else:
            verdict, reason = compare(old[cell], read_record(plan.path(cell)))
            comparisons.append(Comparison(cell, plan.path(cell), verdict, reason))
    return comparisons
