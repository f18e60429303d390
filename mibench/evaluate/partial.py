"""The state of an unfinished training, saved in the store so that a job that was killed can continue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from mibench.diffusion.optimise import CheckpointSink
from mibench.errors import MibenchError
from mibench.results.store import Store

__all__ = ["PartialTraining"]

SHARE = 30
"""Writing takes at most a thirtieth of the time, however large the state is."""


class PartialTraining(CheckpointSink):
    """The artifacts ``partials/<key>-<steps done>`` of one training, of which the one with the most steps counts.

    Args:
        store: where they are saved.
        key: names the training.
        facts: what must be the same for a training to continue: its data, code, device and version of torch.
        title: names the training in messages.
        say: takes one line where a state was read, or could not be read or written.
        every: seconds between two writes.
        trainings: keys of the trainings that it holds, by which the driver gives them to one job again.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        facts: dict[str, Any],
        title: str,
        say: Callable[[str], None],
        every: float,
        trainings: Sequence[str] = (),
    ) -> None:
        self.store, self.key, self.facts, self.title, self.say, self.every = store, key, facts, title, say, every
        self.trainings = list(trainings)
        self._began = time.monotonic()
        self._next = self._began + every
        self._failed = False

    @property
    def seconds(self) -> float:
        """How long the training has taken, interrupted runs included."""
        return time.monotonic() - self._began

    @property
    def exists(self) -> bool:
        """Whether this training has begun, here or in an interrupted run."""
        return bool(self.store.keys("partials", f"{self.key}-"))

    def begin(self) -> None:
        """Note that this training has begun, and start the clock."""
        self._began = time.monotonic()
        if not self.exists:
            self._save(0, {})

    def read(self) -> dict[str, Tensor] | None:
        """See ``CheckpointSink``. One that is corrupt, or of other data, code, device or torch, is not used; one line says so."""
        for key in sorted(self.store.keys("partials", f"{self.key}-"), reverse=True):
            steps = int(key.rpartition("-")[2])
            try:
                state, meta = self.store.load("partials", key)
            except MibenchError:
                self.say(f"the saved state of {self.title} after step {steps} is corrupt and is ignored")
                continue
            if meta["facts"] != self.facts:
                self.say(f"{self.title} was begun with other data, code, torch or device; it starts again")
                break
            if not state:
                return None
            self._began = time.monotonic() - meta["seconds"]
            self.say(f"{self.title} continues after step {steps}")
            return state
        self.delete()
        return None

    def due(self) -> bool:
        """See ``CheckpointSink``."""
        return time.monotonic() >= self._next

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        """See ``CheckpointSink``. Where the store cannot be written, the training continues, with one line."""
        start, older = time.monotonic(), self.store.keys("partials", f"{self.key}-")
        if self._save(done, state):
            for key in older:
                self.store.remove("partials", key)
        now = time.monotonic()
        self._next = now + max(self.every, SHARE * (now - start) if self.every else 0)

    def delete(self) -> None:
        """Delete all states of this training."""
        self.store.remove("partials", f"{self.key}-")

    def _save(self, done: int, state: dict[str, Tensor]) -> bool:
        """Save a state; whether the store could be written."""
        try:
            facts = {"facts": self.facts, "seconds": self.seconds, "trainings": self.trainings}
            self.store.save("partials", f"{self.key}-{done:08d}", state, facts)
        except MibenchError as error:
            if not self._failed:
                self.say(f"the state of {self.title} cannot be saved: {error}")
            self._failed = True
            return False
        return True
