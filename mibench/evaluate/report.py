"""What a worker reports to its driver while it makes models or measures cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mibench.results.record import Record

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Functions that are called with what happens. A cell is named by its index in the job's list of cells.

    Attributes:
        begin: work on a cell begins; if the process ends before the next call, this cell is to blame.
        done: the cell's record.
        failed: why the cell has no result; the driver writes a record that says so.
        progress: steps done and steps in all.
        say: a line for the user.
    """

    begin: Callable[[int], None]
    done: Callable[[int, Record], None]
    failed: Callable[[int, Exception], None]
    progress: Callable[[int, int], None]
    say: Callable[[str], None]
