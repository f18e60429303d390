"""Which jobs a run has taken, so that another run on the same store leaves them to it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["Claims"]


class Claims:
    """Locks on names, held by this process and gone with it, however it ends.

    They save work and no more: where the file system has no locks, two runs do a job twice, and the store keeps one result.

    Args:
        folder: of the lock files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, FileLock] = {}
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> bool:
        """Whether the name is this run's now; False where another process has it."""
        lock = FileLock(self.folder / name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        self.held[name] = lock
        return True

    def give(self, name: str) -> None:
        """Let go of a name; its file goes first, so that none is left."""
        lock = self.held.pop(name, None)
        if lock is not None:
            with suppress(OSError):
                os.unlink(lock.lock_file)
            with suppress(OSError):
                lock.release()
