"""Where jobs run: what the scheduler asks of an engine, and the processes of this machine."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import psutil

__all__ = ["Engine", "Local", "memory_left"]

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
PRELOADED = ["mibench.jobs.guard", "mibench.jobs.worker", "sklearn.datasets"]
PATIENCE = 0.5
GRACE = 10.0
GROUPS = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}

Message = dict[str, Any]


class Engine(Protocol):
    """Runs jobs while it is entered; when it is left, those that still run are ended, with all that they have started."""

    workers: int

    def prepare(self) -> None:
        """Begin what takes long before the first job, beside what the driver itself has still to load."""

    def __enter__(self) -> Engine:
        """Prepare, if that was not done."""

    def __exit__(self, *error: object) -> None: ...

    def room(self, memory: int) -> bool:
        """Whether it would start a job now that needs so many bytes."""

    def start(self, job: Hashable, task: Message) -> None:
        """Run a job under a guard; ``task`` is what ``guard.main`` takes."""

    def wait(self) -> list[tuple[Any, Message]]:
        """What jobs have said, waited for at most half a second; the last of a job has "end", or "lost" where its guard died.

        "unsure" says that what was begun last may not have been heard of.
        """


@dataclass(frozen=True)
class _Child:
    """A guard; ``until`` is when all that its job may do is over, on this machine's clock that is never set."""

    process: Any
    pipe: Connection
    gpu: str | None
    memory: int
    until: float


class Local:
    """Processes of this machine, forked from one that has torch.

    Args:
        workers: jobs at a time, one torch thread each.
        gpus: what they may use, each by the jobs whose turn it is; () leaves the choice to torch.
    """

    def __init__(self, workers: int, gpus: tuple[str, ...] = ()) -> None:
        self.workers, self.gpus = workers, gpus
        self.children: dict[Any, _Child] = {}
        self._lost: list[tuple[Any, Message]] = []
        self._needs = 0
        self._context = multiprocessing.get_context("forkserver")

    def prepare(self) -> None:
        """Start the process from which all are forked; it loads torch."""
        self._context.set_forkserver_preload(PRELOADED)
        before = dict(os.environ)
        os.environ.update(ENVIRONMENT)
        with _birth():
            forkserver.ensure_running()
        for name in ENVIRONMENT.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)

    def __enter__(self) -> Local:
        self.prepare()
        return self

    def __exit__(self, *error: object) -> None:
        _wake()
        for child in self.children.values():
            child.process.terminate()
        until = time.monotonic() + GRACE
        for child in self.children.values():
            child.process.join(max(0.0, until - time.monotonic()))
            child.process.kill()
            child.pipe.close()
        self.children.clear()

    def room(self, memory: int) -> bool:
        """Whether a worker is idle and there is memory for one more job; the first one always starts."""
        if len(self.children) >= self.workers:
            return False
        self._needs = memory
        if not self.children:
            return True
        promised = sum(max(0, child.memory - _held(child.process.pid)) for child in self.children.values())
        return memory_left() - promised >= memory

    def start(self, job: Hashable, task: Message) -> None:
        """Start a guard, and under it the job, on the GPU that has the fewest."""
        used = [child.gpu for child in self.children.values()]
        gpu = min(self.gpus, key=used.count, default=None)
        environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_guarded, args=({"environment": environment, **task}, theirs))
        try:
            _wake()
            with _birth():
                process.start()
        except (EOFError, OSError) as error:
            self._lost.append((job, {"lost": f"no process could be started: {str(error) or type(error).__name__}"}))
        else:
            most = (task["limit"] or math.inf) * (len(task["cells"]) + 1) + GRACE
            self.children[job] = _Child(process, ours, gpu, self._needs, time.monotonic() + most)
        finally:
            theirs.close()

    def wait(self) -> list[tuple[Any, Message]]:
        """See ``Engine``."""
        said, self._lost = self._lost, []
        parts = [part for child in self.children.values() for part in (child.pipe, child.process.sentinel)]
        ready = wait(parts, 0.0 if said else PATIENCE)
        for job, child in list(self.children.items()):
            over = child.process.sentinel in ready
            message: Message = {}
            with suppress(EOFError, OSError, ValueError):
                while "end" not in message and child.pipe.poll():
                    message = json.loads(child.pipe.recv_bytes())
                    said.append((job, message))
            if over and "end" not in message:
                message = {"lost": "its guard was killed"}
                said.append((job, message))
            elif "end" not in message and time.monotonic() > child.until:
                for process in _below(child.process.pid):
                    with suppress(psutil.Error):
                        process.kill()
                child.process.kill()
                text = "its guard did not stop it at the time limit, as if something had stopped the guard"
                message = {"end": text, "unsure": True}
                said.append((job, message))
            if "end" in message or over:
                child.pipe.close()
                del self.children[job]
        return said


@contextmanager
def _birth() -> Iterator[None]:
    """Whoever is born here starts with Ctrl-C blocked, which is for the driver, and does not import the driver's script."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wake() -> None:
    """A job may have stopped the process from which all are forked; nothing is waited for longer."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # type: ignore[attr-defined]
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def _guarded(task: Message, pipe: Connection) -> None:
    """What a new process does; torch is there already, and the driver itself never needs it."""
    from mibench.jobs import guard

    guard.main(task, pipe)


def _below(pid: int) -> list[psutil.Process]:
    """The descendants of a process."""
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        found = psutil.Process(pid).children(recursive=True)
    return found


def _held(pid: int) -> int:
    """Bytes held by the descendants of a process."""
    held = 0
    for process in _below(pid):
        with suppress(psutil.Error):
            held += process.memory_info().rss
    return held


def memory_left(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free on this machine, and in all control groups that hold this process (version 1 and 2).

    Args:
        groups: which groups hold it.
        root: where they are described.
    """
    left = int(psutil.virtual_memory().available)
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                names, top = GROUPS[controllers], root / controllers
                folder = top / path.strip("/")
                for place in (folder, *folder.parents[: len(folder.parts) - len(top.parts)]):
                    left = int(min(left, _left_of(place, *names)))
    return left


def _left_of(group: Path, limit: str, used: str, cache: str) -> float:
    """Bytes that a control group may still take; infinite where it says nothing."""
    with suppress(OSError, ValueError, KeyError):
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        most, now = (int((group / name).read_text()) for name in (limit, used))
        return most - now + int(facts[cache])
    return math.inf
