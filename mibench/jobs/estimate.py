"""What jobs cost: estimated from the recipe, corrected by the jobs that have ended; for the order of jobs and the time left."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mibench.jobs.messages import JobKind
from mibench.suite.cells import Cell

__all__ = ["Clock", "estimate", "job_class", "shard"]

FLOPS, STEP, CELL, EXACT = 1e11, 1e-3, 1.0, 1e-4
"""Of one core: operations per second; seconds for a training step, for a cell, and for one sample of an exact model."""
STACKED = 0.5
"""What one more MLP adds to the time of a stack, as a share of the time of one that trains alone."""
UNETS = {"unet-tiny": 2e8, "unet-cifar": 1.2e10}
"""Operations for one sample."""
EVALUATIONS = 2e4
"""Samples that an attack passes through the network: some hundred samples, at some dozens of points each."""
MEMORY = 1 << 29


def job_class(kind: JobKind, cells: list[Cell]) -> str:
    """Jobs of one class are alike in time and memory: "models", "measure", or "exact" for those without a network."""
    return kind if cells[0].model_kind == "trained" else "exact"


def estimate(kind: JobKind, cells: list[Cell]) -> float:
    """Seconds that a job takes on one core: right in its order, wrong by a factor that ``Clock`` measures."""
    if kind == "models":
        trainings = {cell.training_key: cell for cell in cells if cell.model_kind == "trained"}
        return CELL + sum(map(_training, trainings.values())) * _stacking(list(trainings.values()))
    counts = (EVALUATIONS if cell.attack else cell.utility.samples * cell.utility.evaluations for cell in cells)
    return sum(CELL + count * _pass(cell) for count, cell in zip(counts, cells, strict=True))


def _stacking(trainings: list[Cell]) -> float:
    """The time of trainings in one job, as a share of what they take one by one."""
    if not trainings or trainings[0].recipe.network in UNETS or not trainings[0].defense.stackable:
        return 1.0
    return STACKED + (1 - STACKED) / len(trainings)


def _training(cell: Cell) -> float:
    """Seconds of a training."""
    recipe = cell.own_recipe
    return recipe.steps * (STEP + 3 * recipe.batch * _pass(cell))


def _pass(cell: Cell) -> float:
    """Seconds for one sample to pass through the network."""
    if cell.model_kind != "trained":
        return EXACT
    recipe = cell.own_recipe
    return UNETS.get(recipe.network, 4.0 * recipe.depth * recipe.width**2) / FLOPS


def shard(cells: list[Cell], number: int, of: int) -> list[Cell]:
    """The cells of one of several parts, which take about equally long; the same for the same suite on every machine.

    The checkpoints of a training, the attacks on them and their shadow models stay together.

    Args:
        cells: of the whole suite.
        number: of the part, from 1.
        of: how many parts there are.
    """
    trainings: dict[str, list[Cell]] = {}
    for cell in cells:
        trainings.setdefault(cell.training_key, []).append(cell)

    def cost(group: list[Cell]) -> float:
        shadows = {shadow for cell in group for shadow in cell.shadows()}
        return estimate("models", [replace(group[0], attack=None), *shadows]) + estimate("measure", group)

    costs = {key: cost(group) for key, group in trainings.items()}
    parts = [(0.0, k) for k in range(of)]
    chosen: set[str] = set()
    for key in sorted(trainings, key=lambda key: (-costs[key], key)):
        total, k = heapq.heappop(parts)
        chosen |= {key} if k == number - 1 else set()
        heapq.heappush(parts, (total + costs[key], k))
    return [cell for cell in cells if cell.training_key in chosen]


class Clock:
    """Seconds and memory of the jobs of this run.

    Attributes:
        memory: by class of job, the most bytes that one has held, 0.5 GiB at least.
    """

    def __init__(self) -> None:
        self.memory = dict.fromkeys(("models", "measure", "exact"), MEMORY)
        self._taken = dict.fromkeys(self.memory, 0.0)
        self._estimated = dict.fromkeys(self.memory, 0.0)
        self._running: dict[Any, tuple[str, float, float]] = {}  # class, estimate and start by job
        self._share: dict[Any, float] = {}

    def start(self, job: Any, job_class: str, estimated: float) -> None:
        """A job begins."""
        self._running[job] = (job_class, estimated, time.monotonic())

    def progress(self, job: Any, share: float) -> None:
        """It has done this share of its work, or more."""
        self._share[job] = max(share, self._share.get(job, 0.0))

    def end(self, job: Any, memory: int) -> None:
        """It has ended, and has held so many bytes."""
        job_class, estimated, began = self._running.pop(job)
        self._share.pop(job, None)
        self._taken[job_class] += time.monotonic() - began
        self._estimated[job_class] += estimated
        self.memory[job_class] = max(self.memory[job_class], memory)

    def seconds_left(self, waiting: Iterable[tuple[JobKind, list[Cell]]], workers: int) -> float | None:
        """Seconds until everything is done; None while no job has shown its pace.

        Args:
            waiting: jobs that have not begun.
            workers: how many jobs run at a time.
        """
        taken, estimated, now = self._taken.copy(), self._estimated.copy(), time.monotonic()
        for job, (name, seconds, began) in self._running.items():
            share = self._share.get(job, 0.0)
            if share > 0:
                taken[name] += now - began
                estimated[name] += share * seconds
        if not any(estimated.values()):
            return None
        overall = sum(taken.values()) / sum(estimated.values())
        pace = {name: taken[name] / estimated[name] if estimated[name] else overall for name in self.memory}
        left = sum(pace[job_class(kind, cells)] * estimate(kind, cells) for kind, cells in waiting)
        for job, (name, seconds, began) in self._running.items():
            share = self._share.get(job, 0.0)
            whole = (now - began) / share if share > 0 else pace[name] * seconds
            left += max(0.0, whole - (now - began))
        return left / workers
