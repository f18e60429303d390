"""The log of a job: the first and the last 256 KiB of what it prints."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["JobLog"]

HEAD = TAIL = 1 << 18


class JobLog:
    """Writes the head of the output to the file at once, and the tail at the end; counts the bytes between them.

    Args:
        path: the file, which is replaced.
        titles: its first lines, see ``mibench.jobs.messages.JobSpec``.
    """

    def __init__(self, path: Path, titles: tuple[str, ...]) -> None:
        self.path, self.room, self.tail, self.dropped = path, HEAD, bytearray(), 0
        self.titles = "".join(f"{title}\n" for title in titles) + "\n"

    def __enter__(self) -> JobLog:
        self._append(self.titles.encode(), os.O_TRUNC)
        return self

    def __exit__(self, *error: object) -> None:
        if self.dropped:
            self._append(f"\n… {self.dropped} bytes left out …\n".encode())
        self._append(bytes(self.tail))

    def write(self, raw: bytes) -> None:
        """Take output of the job."""
        first, rest = raw[: self.room], raw[self.room :]
        self.room -= len(first)
        if first:
            self._append(first)
        self.tail += rest
        excess = len(self.tail) - TAIL
        if excess > 0:
            self.dropped += excess
            del self.tail[:excess]

    def _append(self, raw: bytes, flag: int = os.O_APPEND) -> None:
        with suppress(OSError):  # a full disk costs the log, not the job
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | flag, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
