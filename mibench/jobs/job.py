"""Jobs: which cells and models share a process."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from mibench.jobs.estimate import estimate, job_class
from mibench.jobs.messages import JobKind
from mibench.suite.cells import Cell

__all__ = ["LIVES", "Job", "group_trainings"]

LIVES = 3
"""How often a job is tried when its worker is lost, or killed by another process."""
TOGETHER = 16
"""The most trainings that share a job."""
SLACK = 1.1
"""By so much may larger jobs lengthen the time until all trainings are done."""


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


def group_trainings(models: list[Cell], workers: int = 1, begun: Collection[frozenset[str]] = ()) -> list[list[Cell]]:
    """Divide models into jobs.

    All checkpoints of a training share a job. So do the targets of several seeds, which may train together, the shadow models
    of one defense, and the exact models of all seeds. Jobs are as large as they may be while every worker has its share. Where a
    defense trains each model by itself, each target has a job of its own, and only the shadow models of one target share one.

    Args:
        models: to be made.
        workers: how many jobs run at a time.
        begun: keys of trainings that were interrupted together, and go on only together.
    """
    groups: dict[tuple[str, bool], dict[str, list[Cell]]] = {}
    for cell in models:
        together = cell.model_kind != "trained" or cell.defense.stackable
        relative = replace(cell, shadow=None, checkpoint=0, seed=0 if together else cell.seed)
        group = groups.setdefault((relative.model_key, cell.shadow is not None), {})
        group.setdefault(cell.training_key, []).append(cell)
    fixed = []
    for group in groups.values():
        for keys in begun:
            if keys <= group.keys():
                fixed.append(list(itertools.chain(*(group.pop(key) for key in sorted(keys, key=list(group).index)))))
    plans = []
    for size in range(TOGETHER, 0, -1):
        jobs = [*fixed, *(job for group in groups.values() for job in _parts(list(group.values()), size))]
        plans.append((_span(jobs, workers), jobs))
    limit = SLACK * min(span for span, _ in plans)
    return next(jobs for span, jobs in plans if span <= limit)


def _parts(trainings: list[list[Cell]], size: int) -> list[list[Cell]]:
    """Divide trainings into jobs of so many at most, and as equal as can be."""
    size = math.ceil(len(trainings) / math.ceil(len(trainings) / size)) if trainings else 1
    return [list(itertools.chain(*trainings[k : k + size])) for k in range(0, len(trainings), size)]


def _span(jobs: list[list[Cell]], workers: int) -> float:
    """Seconds that so many workers take for jobs that make models, the longest first."""
    ends = [0.0] * max(1, workers)
    for cost in sorted((estimate("models", job) for job in jobs), reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)
