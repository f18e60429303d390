"""A training under way, kept in the store by time, so that a job that was killed goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from mibench.errors import MibenchError
from mibench.results.store import Store

__all__ = ["Partial"]

SHARE = 30  # writing takes at most a thirtieth of the time, however large the state is


class Partial:
    """Artifacts ``partials/<key>-<steps done>`` of one training, of which the last one counts.

    Args:
        store: where they are kept.
        key: names the training.
        facts: what must be the same for a training to go on: its data, device and library.
        title: what people call it.
        say: takes one line on what was found or went wrong.
        every: seconds between two writes.
    """

    def __init__(
        self, store: Store, key: str, facts: dict[str, Any], title: str, say: Callable[[str], None], every: float
    ) -> None:
        self.store, self.key, self.facts, self.title, self.say, self.every = store, key, facts, title, say, every
        self._began = time.monotonic()
        self._next = self._began + every
        self._complained = False

    @property
    def seconds(self) -> float:
        """What the training has taken since it began or was read, and before."""
        return time.monotonic() - self._began

    @property
    def there(self) -> bool:
        """Whether a training of this key has begun, by ``begin`` or ``write``."""
        return bool(self.store.keys("partials", f"{self.key}-"))

    def begin(self) -> None:
        """Note that this training has begun, and start the clock."""
        self._began = time.monotonic()
        if not self.there:
            self._save(0, {})

    def read(self) -> dict[str, Tensor] | None:
        """See ``CheckpointSink``. What is corrupt or of other data, device or library is deleted, with one line."""
        for key in sorted(self.store.keys("partials", f"{self.key}-"), reverse=True):
            try:
                state, meta = self.store.load("partials", key)
            except MibenchError:
                self.say(f"what was kept of {self.title} after step {_steps(key)} is corrupt, and left out")
                continue
            if meta["facts"] != self.facts:
                self.say(f"{self.title} was begun with other data, torch or device; it begins anew")
                break
            if not state:
                return None
            self._began = time.monotonic() - meta["seconds"]
            self.say(f"{self.title} goes on after step {_steps(key)}")
            return state
        self.drop()
        return None

    def due(self) -> bool:
        """See ``CheckpointSink``."""
        return time.monotonic() >= self._next

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        """See ``CheckpointSink``. Where the store cannot be written the training goes on, with one line."""
        start, older = time.monotonic(), self.store.keys("partials", f"{self.key}-")
        if self._save(done, state):
            for key in older:
                self.store.remove("partials", key)
        now = time.monotonic()
        self._next = now + max(self.every, SHARE * (now - start) if self.every else 0)

    def drop(self) -> None:
        """Delete all of it."""
        self.store.remove("partials", f"{self.key}-")

    def _save(self, done: int, state: dict[str, Tensor]) -> bool:
        """Whether it could be written."""
        facts = {"facts": self.facts, "seconds": self.seconds}
        try:
            self.store.save("partials", f"{self.key}-{done:08d}", state, facts)
        except MibenchError as error:
            if not self._complained:
                self.say(f"{self.title} cannot be kept while it is under way: {error}")
            self._complained = True
            return False
        return True


def _steps(key: str) -> int:
    return int(key.rpartition("-")[2])
