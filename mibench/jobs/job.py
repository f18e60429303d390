"""Jobs: which cells and models share a process."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace

from mibench.jobs.estimate import job_class
from mibench.jobs.messages import JobKind
from mibench.suite.cells import Cell

__all__ = ["LIVES", "Job", "group_trainings"]

LIVES = 3
"""How often a job is tried when its worker is lost, or killed by another process."""
TOGETHER = 16
"""The most trainings that share a job."""


@dataclass(eq=False)
class Job:
    """Models to make, or cells of one model to measure, in one process.

    Attributes:
        alone: no other job may run at the same time, since this one ran out of memory.
        lives: tries that are left, this one included.
        not_before: the monotonic time before which it must not start, since another run holds its locks.
        cost: estimated seconds, with those of the jobs that wait for it.
        locks: names of the locks that it holds.
        unanswered: indices of the cells that have neither record nor failure.
        current: index of the cell that the worker computes; None before the first.
    """

    kind: JobKind
    cells: list[Cell]
    alone: bool = False
    lives: int = LIVES
    not_before: float = 0.0
    cost: float = 0.0
    locks: list[str] = field(default_factory=list)
    unanswered: set[int] = field(default_factory=set)
    current: int | None = None

    @property
    def job_class(self) -> str:
        """See ``estimate.job_class``."""
        return job_class(self.kind, self.cells)

    @property
    def trainings(self) -> int:
        """How many trainings it does; 1 for a job that measures."""
        return len({cell.training_key for cell in self.cells}) if self.kind == "models" else 1

    @property
    def log_titles(self) -> tuple[str, ...]:
        """By these ``mibench log`` finds its log: a line for each model, or each cell with the path of its record."""
        if self.kind == "models":
            return tuple(f"# {cell.model_title}" for cell in self.cells)
        return tuple(f"# {cell.title} [{cell.path}]" for cell in self.cells)

    def lock_of(self, cell: Cell) -> str:
        """The name of the lock on what the job makes for a cell: a training, or the cells of a model."""
        return f"{self.kind}-{cell.training_key if self.kind == 'models' else cell.model_key}"

    def open_cells(self) -> list[Cell]:
        """The cells that have neither record nor failure."""
        return [self.cells[index] for index in sorted(self.unanswered)]


def group_trainings(models: list[Cell]) -> list[list[Cell]]:
    """Divide models into jobs.

    All checkpoints of a training share a job. So do the shadow models of one target, which may train together, and the exact
    models of all seeds.
    """
    groups: dict[tuple[str, bool], dict[str, list[Cell]]] = {}
    for cell in models:
        relative = replace(cell, shadow=None, checkpoint=0, seed=cell.seed if cell.model_kind == "trained" else 0)
        group = groups.setdefault((relative.model_key, cell.shadow is not None), {})
        group.setdefault(cell.training_key, []).append(cell)
    jobs = []
    for group in groups.values():
        trainings = list(group.values())
        size = math.ceil(len(trainings) / math.ceil(len(trainings) / TOGETHER))
        jobs += [list(itertools.chain(*trainings[k : k + size])) for k in range(0, len(trainings), size)]
    return jobs
