"""How jobs are done, and what a run reports while it does them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mibench.kinds import Device
from mibench.suite.cells import Cell

__all__ = ["Event", "EventKind", "JobOptions", "OnEvent"]

EventKind = Literal["begin", "stale", "edited", "trained", "progress", "note", "done", "failed"]


@dataclass(frozen=True)
class JobOptions:
    """How jobs are done.

    Attributes:
        device: "cpu", "cuda", or "auto": CUDA where this machine has it; with ray the CPU, unless a share of a GPU is given.
        plugins: absolute paths of loose plugin files.
        time_limit: seconds for each cell and for each training; None for no limit.
        shard: (I, N) for the I-th of N parts of the suite.
        again: whether cells are computed anew whose records were made by other code of a component.
    """

    device: Device = "auto"
    plugins: tuple[str, ...] = ()
    time_limit: float | None = None
    shard: tuple[int, int] = (1, 1)
    again: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened in a run.

    Attributes:
        kind: "begin" (of the run), "stale" (the cell's record is out of date), "edited" (records that are used were made by
            other code), "trained" (the cell's model is stored),
            "progress" (of a job that computes the cell, or its model), "note", "done" or "failed".
        cell: None where it concerns no single cell.
        message: why it failed or is stale, the text of a note, or for progress the kind of job, "models" or "measure".
        share: for progress, the share of the job that is done.
        finished, total: how many cells are done or failed by now, of how many that this run has to compute.
        seconds_left: until all are, None where it cannot be said.
    """

    kind: EventKind
    cell: Cell | None = None
    message: str = ""
    share: float = 0.0
    finished: int = 0
    total: int = 0
    seconds_left: float | None = None


OnEvent = Callable[[Event], None]
