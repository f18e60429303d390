"""What jobs cost: guessed from the recipe, corrected by what jobs of the kind have taken, for order and time left."""

from __future__ import annotations

import heapq
import time
from dataclasses import replace
from typing import Any

from mibench.suite.cells import Cell

__all__ = ["Clock", "guess", "shard", "sort"]

FLOPS, STEP, CELL, EXACT = 1e11, 1e-3, 1.0, 1e-4
UNETS = {"unet-tiny": 2e8, "unet-cifar": 1.2e10}
ASKED = 2e4  # of a model by an attack: some hundred samples, at some dozens of points each
MEMORY = 1 << 29


def sort(kind: str, cells: list[Cell]) -> str:
    """By what of its job's time and memory are learnt: "models", "measure" or "exact", which has no network."""
    return kind if cells[0].model_kind == "trained" else "exact"


def guess(kind: str, cells: list[Cell]) -> float:
    """Seconds that a job may take on one core: right in its order, wrong by a factor that ``Clock`` learns."""
    if kind == "models":
        ends = {cell.training_key: cell for cell in cells if cell.model_kind == "trained"}
        return CELL + sum(cell.recipe.steps * (STEP + 3 * cell.recipe.batch * _pass(cell)) for cell in ends.values())
    asked = (ASKED if cell.attack else cell.utility.samples * cell.utility.evaluations for cell in cells)
    return sum(CELL + evaluations * _pass(cell) for evaluations, cell in zip(asked, cells, strict=True))


def _pass(cell: Cell) -> float:
    """Seconds of one sample's way through the network."""
    if cell.model_kind != "trained":
        return EXACT
    recipe = cell.recipe
    return UNETS.get(recipe.network, 4.0 * recipe.depth * recipe.width**2) / FLOPS


def shard(cells: list[Cell], number: int, of: int) -> list[Cell]:
    """The cells of one of several parts that are about as long as each other; the same for the same suite everywhere.

    What belongs to one training — its checkpoints, their attacks, the shadow models that these share — stays together.

    Args:
        cells: of the whole suite.
        number: of the part, from 1.
        of: how many parts there are.
    """
    trainings: dict[str, list[Cell]] = {}
    for cell in cells:
        trainings.setdefault(cell.training_key, []).append(cell)

    def cost(group: list[Cell]) -> float:
        models = [replace(cell, attack=None) for cell in group[:1]] + list(
            {s for cell in group for s in cell.shadows()}
        )
        return guess("models", models) + guess("measure", group)

    costs = {key: cost(group) for key, group in trainings.items()}
    parts = [(0.0, k) for k in range(of)]
    mine: set[str] = set()
    for key in sorted(trainings, key=lambda key: (-costs[key], key)):
        total, k = heapq.heappop(parts)
        mine |= {key} if k == number - 1 else set()
        heapq.heappush(parts, (total + costs[key], k))
    return [cell for cell in cells if cell.training_key in mine]


class Clock:
    """Seconds and memory of the jobs of this run.

    Attributes:
        memory: by sort of job, the most bytes that one has held, 0.5 GiB at least.
    """

    def __init__(self) -> None:
        self.memory = dict.fromkeys(("models", "measure", "exact"), MEMORY)
        self._taken = dict.fromkeys(self.memory, 0.0)
        self._guessed = dict.fromkeys(self.memory, 0.0)
        self._running: dict[Any, tuple[str, float, float]] = {}
        self._share: dict[Any, float] = {}

    def start(self, job: Any, sort: str, guessed: float) -> None:
        """A job begins."""
        self._running[job] = (sort, guessed, time.monotonic())

    def progress(self, job: Any, share: float) -> None:
        """It has done this share of its work, or more."""
        self._share[job] = max(share, self._share.get(job, 0.0))

    def end(self, job: Any, memory: int) -> None:
        """It has ended, and has held so many bytes."""
        sort, guessed, began = self._running.pop(job)
        self._share.pop(job, None)
        self._taken[sort] += time.monotonic() - began
        self._guessed[sort] += guessed
        self.memory[sort] = max(self.memory[sort], memory)

    def left(self, waiting: dict[str, float], workers: int) -> float | None:
        """Seconds until all is done, None where nothing is known yet.

        Args:
            waiting: guessed seconds of the jobs that have not begun, by sort.
            workers: how many go at a time.
        """
        taken, guessed, now = self._taken.copy(), self._guessed.copy(), time.monotonic()
        for job, (sort, seconds, began) in self._running.items():
            share = self._share.get(job, 0.0)
            if share > 0:
                taken[sort] += now - began
                guessed[sort] += share * seconds
        if not any(guessed.values()):
            return None
        overall = sum(taken.values()) / sum(guessed.values())
        rate = {sort: taken[sort] / guessed[sort] if guessed[sort] else overall for sort in self.memory}
        left = sum(rate[sort] * seconds for sort, seconds in waiting.items())
        for job, (sort, seconds, began) in self._running.items():
            share = self._share.get(job, 0.0)
            whole = (now - began) / share if share > 0 else rate[sort] * seconds
            left += max(0.0, whole - (now - began))
        return left / workers
