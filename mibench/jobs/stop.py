"""How a user stops a run: Ctrl-C once lets running jobs finish; Ctrl-C twice, SIGTERM and SIGHUP stop it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Stop"]


class Stop:
    """Handles the signals of this process while it is entered, in the main thread alone; other threads get none.

    Attributes:
        requested: start no further job.
        signal: the signal that stops the run at once, 0 for none.
    """

    def __init__(self) -> None:
        self.requested, self.signal = False, 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or number != signal.SIGINT:
            self.signal = number
        self.requested = True
