"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["SUBREAPER", "end_with", "prctl"]

SUBREAPER, DEATH_SIGNAL = 36, 1
"""Options of prctl(2)."""


def end_with(parent: int) -> bool:
    """Have this process killed when its parent ends, however that ends; only Linux can.

    Args:
        parent: the number of the process that started this one.

    Returns:
        Whether the parent is still there. Where it is not, nothing will kill this process: it must end itself.
    """
    prctl(DEATH_SIGNAL, signal.SIGKILL)
    return os.getppid() == parent


def prctl(option: int, value: int) -> None:
    """Set an option of this process, as the man page of Linux has it; elsewhere nothing is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
