"""The scores so far of an attack on one model, saved in the store so that a job that was killed can continue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from mibench.errors import MibenchError
from mibench.evaluate.attack_run import AttackRun
from mibench.results.store import Store

__all__ = ["PartialScores"]


class PartialScores:
    """The artifact ``partials/<key>-<batches done>`` of one cell.

    Args:
        store: where it is saved.
        key: of the cell.
        facts: what must be the same for the scores to be used again: code, batches and device.
        say: takes one line where scores were read.
        every: seconds between two writes.
    """

    def __init__(self, store: Store, key: str, facts: dict[str, Any], say: Callable[[str], None], every: float) -> None:
        self._store, self._key, self._facts, self._say, self._every = store, f"{key}-scored-", facts, say, every
        self._next = time.monotonic() + every

    def resume(self, run: AttackRun) -> int:
        """Give a run that has learnt its scores so far, and return of how many batches they are; 0 where none are stored."""
        for key in sorted(self._store.keys("partials", self._key), reverse=True):
            try:
                scores, meta = self._store.load("partials", key)
            except MibenchError:
                continue
            if meta["facts"] != self._facts:
                break
            run.scores = {setting: [values] for setting, values in scores.items()}
            run.model.cost.forwards, run.model.cost.vjps = meta["cost"]["forwards"], meta["cost"]["vjps"]
            run.shadow_cost.forwards, run.shadow_cost.vjps = meta["shadows"]["forwards"], meta["shadows"]["vjps"]
            run.seconds += meta["seconds"]
            self._say(f"{run.attack.label} continues after batch {meta['batches']}")
            return int(meta["batches"])
        self.delete()
        return 0

    def save(self, run: AttackRun, batches: int) -> None:
        """Save the scores of a run after so many batches, if it is time; a store that cannot be written is no error."""
        if time.monotonic() < self._next:
            return
        older = self._store.keys("partials", self._key)
        meta = {
            "facts": self._facts,
            "batches": batches,
            "cost": asdict(run.model.cost),
            "shadows": asdict(run.shadow_cost),
            "seconds": run.seconds,
        }
        try:
            scores = {setting: torch.cat(parts) for setting, parts in run.scores.items()}
            self._store.save("partials", f"{self._key}{batches:08d}", scores, meta)
        except MibenchError:
            return
        for key in older:
            self._store.remove("partials", key)
        self._next = time.monotonic() + self._every

    def delete(self) -> None:
        """Delete what is stored."""
        self._store.remove("partials", self._key)
