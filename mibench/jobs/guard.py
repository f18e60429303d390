"""The guard of one job: a process beside the job's own, which ends it and all that it started, whatever the job does."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import psutil

__all__ = ["main"]

HEAD = TAIL = 1 << 18
LONGEST = 1 << 26
PACE, LAST_WORDS = 0.2, 0.3
SELDOM, SOON = 0.1, 0.005
SUBREAPER, DEATH_SIGNAL = 36, 1


def main(job: dict[str, Any], pipe: Connection) -> None:
    """Run one job to its end and relay what it says; a last message says how it ended.

    The job is a child in a session of its own. It is killed, with everything that it has started, when it has used up its
    time, and when the driver is gone. Of what it prints the first and the last 256 KiB are kept.

    Args:
        job: what ``worker.main`` takes, and "titles" for the head of the log, "environment" to set, "limit" in seconds
            for each cell of the job, or None.
        pipe: takes messages as in ``Report``, and then ``{"end": what is wrong, or nothing, "memory": whether that was memory,
            "killed": whether somebody else has killed it, "held": bytes at most}``.
    """
    os.setsid()  # Ctrl-C at a terminal is for the driver alone
    _prctl(SUBREAPER, 1)
    output, printed = os.pipe()
    messages, said = os.pipe()
    guard, child = os.getpid(), os.fork()
    if child == 0:
        os.close(output)
        os.close(messages)
        _become(job, guard, printed, said)
    os.close(printed)
    os.close(said)
    with _Log(job["log"], job["titles"]) as log:
        watch = _Watch(child, output, messages, len(job["cells"]), job["limit"], log, pipe.send_bytes)
        signal.signal(signal.SIGTERM, lambda *_: setattr(watch, "stopped", True))
        try:
            end = watch.run()
        except OSError:  # the driver is gone
            end = {}
        finally:
            _sweep(child)
        watch.drain()
        if end and watch.end:
            end |= watch.end
    if end:
        with contextlib.suppress(OSError):
            pipe.send_bytes(json.dumps(end).encode())


def _become(job: dict[str, Any], guard: int, printed: int, said: int) -> None:
    """Turn this new process into the job; never returns."""
    code = 1
    try:
        os.setsid()
        _prctl(DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != guard:
            return
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.environ.update(job["environment"])
        for descriptor, place in ((os.open(os.devnull, os.O_RDONLY), 0), (printed, 1), (printed, 2)):
            os.dup2(descriptor, place)
        os.dup2(said, 3)
        os.closerange(4, 1 << 20)  # the guard's ways to the driver are not the job's
        sys.stdout = sys.stderr = open(  # noqa: SIM115 - the life of the process
            1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )

        from mibench.jobs import worker

        worker.main(job, 3)
        code = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


class _Watch:
    """Waits for a job and keeps its time; the time of a cell is what passes while the job says that it is at it."""

    def __init__(
        self,
        child: int,
        output: int,
        messages: int,
        cells: int,
        limit: float | None,
        log: _Log,
        send: Callable[[bytes], None],
    ) -> None:
        self.child, self.messages, self.cells = child, messages, cells
        self.limit, self.log, self.send = limit, log, send
        self.parts = selectors.DefaultSelector()
        for descriptor in (output, messages):
            os.set_blocking(descriptor, False)
            self.parts.register(descriptor, selectors.EVENT_READ)
        parent = multiprocessing.parent_process()
        if parent is not None:
            self.parts.register(parent.sentinel, selectors.EVENT_READ, "driver")
        self.partial = b""
        self.pace = SELDOM
        self.end: dict[str, Any] | None = None
        self.shown, self.stopped = 0.0, False
        self.parent = os.getppid()
        self.spent: dict[int | None, float] = {}
        self.place: int | None = None
        self.since = time.monotonic()

    def run(self) -> dict[str, Any]:
        """How the job ended, if it has not said so itself.

        Raises:
            OSError: the driver is gone.
        """
        while True:
            self._listen(self.pace)
            if self.stopped or os.getppid() != self.parent:
                raise BrokenPipeError
            pid, status, usage = os.wait4(self.child, os.WNOHANG)
            if pid:
                held = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                code = os.waitstatus_to_exitcode(status)
                return {"end": _verdict(code), "killed": code == -signal.SIGKILL, "held": held}
            if self.limit is not None and self._used() > self.limit:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.child, signal.SIGUSR1)  # where it hangs, for the log
                self._listen(LAST_WORDS)
                time.sleep(LAST_WORDS)
                return {"end": f"it took more than the time limit of {_span(self.limit)} and was stopped"}

    def drain(self) -> None:
        """Take what is left in the pipes, when nobody writes any more."""
        while self._listen(0):
            pass

    def _listen(self, seconds: float) -> bool:
        """Whether something was said or printed."""
        heard = False
        for key, _ in self.parts.select(seconds):
            if key.data == "driver":
                if seconds:
                    raise BrokenPipeError
                continue
            try:
                raw = os.read(key.fd, 1 << 16)
            except OSError:
                raw = b""
            if not raw:
                self.parts.unregister(key.fd)
                self.pace = SOON  # it has let go of its pipes, and is about to end
            elif key.fd == self.messages:
                self._relay(raw)
            else:
                self.log.write(raw)
            heard = heard or bool(raw)
        return heard

    def _relay(self, raw: bytes) -> None:
        *lines, self.partial = (self.partial + raw).split(b"\n")
        if len(self.partial) > LONGEST:
            self.partial = b""
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if _sound(message, self.cells) and self._news(message):
                    self.send(line)

    def _news(self, message: dict[str, Any]) -> bool:
        """Whether the driver must hear it, now."""
        now = time.monotonic()
        if "end" in message:
            self.end = message
            return False
        if "begin" in message:
            if message["begin"] == self.place:
                return False
            self.spent[self.place] = self._used()
            self.place, self.since = message["begin"], now
        if "progress" in message:
            if now < self.shown + PACE:
                return False
            self.shown = now
        return True

    def _used(self) -> float:
        return self.spent.get(self.place, 0.0) + time.monotonic() - self.since


class _Log:
    """What a job prints: the head goes to its file at once, the tail at the end, what is between is counted."""

    def __init__(self, path: str, titles: list[str]) -> None:
        self.path, self.room, self.tail, self.dropped = path, HEAD, bytearray(), 0
        self.head = "".join(f"{title}\n" for title in titles) + "\n"

    def __enter__(self) -> _Log:
        self._put(self.head.encode(), os.O_TRUNC)
        return self

    def __exit__(self, *error: object) -> None:
        if self.dropped:
            self._put(f"\n… {self.dropped} bytes left out …\n".encode())
        self._put(bytes(self.tail))

    def write(self, raw: bytes) -> None:
        first, rest = raw[: self.room], raw[self.room :]
        self.room -= len(first)
        if first:
            self._put(first)
        self.tail += rest
        over = len(self.tail) - TAIL
        if over > 0:
            self.dropped += over
            del self.tail[:over]

    def _put(self, raw: bytes, flag: int = os.O_APPEND) -> None:
        with contextlib.suppress(OSError):  # a full disk costs the log, not the job
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | flag, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)


def _sound(message: Any, cells: int) -> bool:
    """Whether this is a message of a job of so many cells; others may have written into its pipe."""
    if not isinstance(message, dict):
        return False
    known: dict[str, Callable[[Any], bool]] = {
        "begin": lambda value: type(value) is int and 0 <= value < cells,
        "place": lambda value: type(value) is int and 0 <= value < cells,
        "progress": lambda value: isinstance(value, list) and [type(part) for part in value] == [int, int],
        "say": lambda value: isinstance(value, str),
        "failed": lambda value: isinstance(value, str),
        "record": lambda value: isinstance(value, dict),
        "end": lambda value: isinstance(value, str),
        "memory": lambda value: isinstance(value, bool),
    }
    if "place" in message and not ("failed" in message or "record" in message):
        return False
    return bool(message) and all(name in known and known[name](value) for name, value in message.items())


def _sweep(child: int) -> None:
    """Kill the job, its group, and every descendant, also those that left the group."""
    for _ in range(100):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        left = psutil.Process().children(recursive=True)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(0.02)


def _prctl(option: int, value: int) -> None:
    """Linux alone has these; elsewhere a job's group is killed, and not what has left it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _verdict(code: int) -> str:
    if code >= 0:
        return f"the worker ended with exit code {code} without a result"
    try:
        name = f" ({signal.strsignal(-code)})"
    except ValueError:
        name = ""
    return f"the worker was killed by signal {-code}{', often for memory,' if code == -signal.SIGKILL else name} without a result"


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
