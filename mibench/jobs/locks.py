"""Locks on jobs, by which several runs on one store share the work."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["JobLocks"]


class JobLocks:
    """Locks on names, held by this process and released when it ends, however it ends.

    They only save work: where the file system has no locks, two runs do the same job, and the store keeps one result.

    Args:
        folder: of the lock files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, FileLock] = {}
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)

    def acquire(self, name: str) -> bool:
        """Take a lock; False where another run has it."""
        lock = FileLock(self.folder / name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        self.held[name] = lock
        return True

    def release(self, name: str) -> None:
        """Release a lock and delete its file; the file goes first, while nobody else can hold it."""
        lock = self.held.pop(name, None)
        if lock is not None:
            with suppress(OSError):
                os.unlink(lock.lock_file)
            with suppress(OSError):
                lock.release()
