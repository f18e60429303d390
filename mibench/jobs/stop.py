"""How a run is asked to stop: Ctrl-C once, when the jobs in flight are done; twice, or by SIGTERM or SIGHUP, now."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Stop"]


class Stop:
    """Signals of this process while it is entered.

    Attributes:
        asked: whether no further job is to be begun.
        now: the signal that ends the run at once, 0 for none.
    """

    def __init__(self) -> None:
        self.asked, self.now = False, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked or number != signal.SIGINT:
            self.now = number
        self.asked = True
