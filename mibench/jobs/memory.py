"""How much memory is free, and how much a process and its descendants hold."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["memory_left", "memory_used"]

CONTROL_GROUPS = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Names of limit, usage and reclaimable cache in control groups of version 2 ("") and 1 ("memory")."""


def memory_used(pid: int) -> int:
    """Bytes that the descendants of a process hold."""
    total = 0
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def memory_left(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free on this machine and in all control groups of this process.

    Args:
        groups: lists the control groups of this process.
        root: folder that describes them.
    """
    left = int(psutil.virtual_memory().available)
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in CONTROL_GROUPS:
                top = root / controllers
                folder = top / path.strip("/")
                for group in (folder, *folder.parents[: len(folder.parts) - len(top.parts)]):
                    left = int(min(left, _left_in(group, *CONTROL_GROUPS[controllers])))
    return left


def _left_in(group: Path, limit: str, usage: str, cache: str) -> float:
    """Bytes that a control group may still take; infinite where it has no limit."""
    with suppress(OSError, ValueError, KeyError):
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        most, now = (int((group / name).read_text()) for name in (limit, usage))
        return most - now + int(stat[cache])
    return math.inf
