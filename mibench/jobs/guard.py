"""The guard: a process beside each worker that keeps its time, reads its output, and ends everything that it started."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import signal
import sys
import time
from multiprocessing.connection import Connection

import psutil

from mibench.jobs.joblog import JobLog
from mibench.jobs.messages import Begin, Ended, JobSpec, Progress, decode, encode
from mibench.jobs.parent import SUBREAPER, end_with, prctl

__all__ = ["main"]

PROGRESS_INTERVAL = 0.2
"""Seconds between two ``Progress`` messages that are passed on."""
POLL, POLL_AT_END = 0.1, 0.005
"""Seconds between two looks at the worker: while it runs, and when it has closed its pipes."""
TRACEBACK_TIME = 0.3
"""Seconds that a worker gets to print where it hangs."""


def main(job: JobSpec, pipe: Connection) -> None:
    """Run one job to its end and pass on what it says; the last message is ``Ended``.

    The worker is a child process in a session of its own. It is killed, with everything that it has started, at its end, at
    the time limit, and when the driver is gone.

    Args:
        job: what to do.
        pipe: takes the messages for the driver.
    """
    os.setsid()  # Ctrl-C at a terminal is for the driver alone
    prctl(SUBREAPER, 1)  # elsewhere than on Linux, processes that left the group of a worker survive it
    output, worker_output = os.pipe()
    messages, worker_messages = os.pipe()
    guard, worker = os.getpid(), os.fork()
    if worker == 0:
        _become_worker(job, guard, worker_output, worker_messages)
    os.close(worker_output)
    os.close(worker_messages)
    ended = None
    with JobLog(job.log, job.titles) as log:
        watch = _Watch(job, worker, output, messages, log, pipe)
        signal.signal(signal.SIGTERM, lambda *_: setattr(watch, "stopped", True))
        try:
            with contextlib.suppress(OSError):  # the driver is gone
                ended = watch.run()
        finally:
            _kill_all(worker)
        with contextlib.suppress(OSError):
            while watch.read(0):
                pass
    if ended and watch.ended:
        ended = ended.model_copy(update=watch.ended.model_dump(include={"error", "out_of_memory"}))
    if ended:  # sent last, when the log is complete
        with contextlib.suppress(OSError):
            pipe.send_bytes(encode(ended))


def _become_worker(job: JobSpec, guard: int, output: int, messages: int) -> None:
    """Turn this new process into the worker; never returns."""
    code = 1
    try:
        os.setsid()
        if not end_with(guard):
            return
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.environ.clear()
        os.environ.update(job.environment)
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2), (messages, 3)):
            os.dup2(source, target)
        os.closerange(4, 1 << 20)  # the worker has no pipe to the driver
        sys.stdout = sys.stderr = open(  # noqa: SIM115 - open as long as the process lives
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
    """Waits for a worker, passes on its messages, and keeps its time.

    The time of a cell is the time that passes between its ``Begin`` messages and those of other cells.
    """

    def __init__(self, job: JobSpec, worker: int, output: int, messages: int, log: JobLog, pipe: Connection) -> None:
        self.worker, self.limit, self.log, self.pipe = worker, job.time_limit, log, pipe
        self.messages, self.unread = messages, b""
        self.selector = selectors.DefaultSelector()
        for descriptor in (output, messages):
            os.set_blocking(descriptor, False)
            self.selector.register(descriptor, selectors.EVENT_READ)
        driver = multiprocessing.parent_process()
        if driver is not None:
            self.selector.register(driver.sentinel, selectors.EVENT_READ, "driver")
        self.parent = os.getppid()
        self.stopped = False
        self.ended: Ended | None = None
        self.poll, self.last_progress = POLL, 0.0
        self.cell: int | None = None
        self.began, self.spent = time.monotonic(), dict[int | None, float]()

    def run(self) -> Ended:
        """How the worker ended, as seen from outside.

        Raises:
            OSError: the driver is gone.
        """
        while True:
            self.read(self.poll)
            if self.stopped or os.getppid() != self.parent:
                raise BrokenPipeError
            pid, status, usage = os.wait4(self.worker, os.WNOHANG)
            if pid:
                memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                code = os.waitstatus_to_exitcode(status)
                return Ended(error=_explain(code), killed=code == -signal.SIGKILL, memory_used=memory)
            if self.limit is not None and self._time_used() > self.limit:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.worker, signal.SIGUSR1)  # the worker prints where it hangs
                self.read(TRACEBACK_TIME)
                time.sleep(TRACEBACK_TIME)
                return Ended(error=f"it took more than the time limit of {_duration(self.limit)} and was stopped")

    def read(self, seconds: float) -> bool:
        """Wait so long for output and messages; whether there were any."""
        found = False
        for key, _ in self.selector.select(seconds):
            if key.data == "driver":
                if seconds:
                    raise BrokenPipeError
                continue
            try:
                raw = os.read(key.fd, 1 << 16)
            except OSError:
                raw = b""
            if not raw:
                self.selector.unregister(key.fd)
                self.poll = POLL_AT_END
            elif key.fd == self.messages:
                *lines, self.unread = (self.unread + raw).split(b"\n")
                for line in lines:
                    self._pass_on(line)
            else:
                self.log.write(raw)
            found = found or bool(raw)
        return found

    def _pass_on(self, line: bytes) -> None:
        """Send a message to the driver, unless it can wait or repeats what the driver knows."""
        message, now = decode(line), time.monotonic()
        if isinstance(message, Ended):  # sent when the process has ended, too
            self.ended = message
            return
        if isinstance(message, Begin):
            if message.cell_index == self.cell:
                return
            self.spent[self.cell] = self._time_used()
            self.cell, self.began = message.cell_index, now
        if isinstance(message, Progress):
            if now < self.last_progress + PROGRESS_INTERVAL:
                return
            self.last_progress = now
        self.pipe.send_bytes(line)

    def _time_used(self) -> float:
        """Seconds that the current cell has taken."""
        return self.spent.get(self.cell, 0.0) + time.monotonic() - self.began


def _kill_all(worker: int) -> None:
    """Kill the worker, its process group, and every descendant, also those that left the group."""
    for _ in range(100):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)
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


def _explain(code: int) -> str:
    """An exit code in words; a negative one is a signal."""
    if code >= 0:
        return f"the worker ended with exit code {code} without a result"
    if code == -signal.SIGKILL:
        return "the worker was killed by signal 9, often because memory ran out, without a result"
    return f"the worker was killed by signal {-code} ({signal.strsignal(-code)}) without a result"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
