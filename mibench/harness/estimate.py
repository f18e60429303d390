"""What jobs cost: guessed from the recipe, corrected by what jobs of the kind have taken, for order and time left."""

from __future__ import annotations

import heapq
import time
from dataclasses import replace
from typing import Any

from mibench.harness.cells import Cell

__all__ = ["Clock", "guess", "shard"]

FLOPS, STEP, CELL = 1e10, 1e-3, 1.0
UNETS = {"unet-tiny": 2e8, "unet-cifar": 1.2e10}
MEMORY = 1 << 29


def guess(kind: str, cells: list[Cell]) -> float:
    """Seconds that a job may take on one core: right in its order, wrong by a factor that ``Clock`` learns."""
    if kind == "models":
        ends = {cell.training_key: cell for cell in cells if cell.model == "trained"}
        return CELL + sum(cell.recipe.steps * (STEP + 3 * cell.recipe.batch * _pass(cell)) for cell in ends.values())
    sampled = sum(
        cell.utility.samples * cell.utility.evaluations * _pass(cell) for cell in cells if cell.attack is None
    )
    return CELL * len(cells) + sampled


def _pass(cell: Cell) -> float:
    """Seconds of one sample's way through the network."""
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
        memory: by kind of job, the most bytes that one has held, 0.5 GiB at least.
    """

    def __init__(self) -> None:
        self.memory = {"models": MEMORY, "measure": MEMORY}
        self._taken = dict.fromkeys(self.memory, 0.0)
        self._guessed = dict.fromkeys(self.memory, 0.0)
        self._running: dict[Any, tuple[str, float, float]] = {}
        self._share: dict[Any, float] = {}

    def start(self, job: Any, kind: str, guessed: float) -> None:
        """A job begins."""
        self._running[job] = (kind, guessed, time.monotonic())

    def progress(self, job: Any, share: float) -> None:
        """It has done this share of its work, or more."""
        self._share[job] = max(share, self._share.get(job, 0.0))

    def end(self, job: Any, memory: int) -> None:
        """It has ended, and has held so many bytes."""
        kind, guessed, began = self._running.pop(job)
        self._share.pop(job, None)
        self._taken[kind] += time.monotonic() - began
        self._guessed[kind] += guessed
        self.memory[kind] = max(self.memory[kind], memory)

    def left(self, waiting: dict[str, float], workers: int) -> float | None:
        """Seconds until all is done, None where nothing is known yet.

        Args:
            waiting: guessed seconds of the jobs that have not begun, by kind.
            workers: how many go at a time.
        """
        taken, guessed, now = self._taken.copy(), self._guessed.copy(), time.monotonic()
        for job, (kind, seconds, began) in self._running.items():
            share = self._share.get(job, 0.0)
            if share > 0:
                taken[kind] += now - began
                guessed[kind] += share * seconds
        if not any(guessed.values()):
            return None
        overall = sum(taken.values()) / sum(guessed.values())
        rate = {kind: taken[kind] / guessed[kind] if guessed[kind] else overall for kind in self.memory}
        left = sum(rate[kind] * seconds for kind, seconds in waiting.items())
        for job, (kind, seconds, began) in self._running.items():
            share = self._share.get(job, 0.0)
            whole = (now - began) / share if share > 0 else rate[kind] * seconds
            left += max(0.0, whole - (now - began))
        return left / workers
