"""The local engine: processes of this machine, forked from one that has loaded torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from mibench.errors import UsageError
from mibench.jobs.engine import POLL
from mibench.jobs.guard import main as run_guard
from mibench.jobs.memory import memory_left, memory_used
from mibench.jobs.messages import Ended, JobSpec, Lost, Message, decode
from mibench.kinds import Device

__all__ = ["Local", "RunningJob"]

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
PRELOADED = ["mibench.jobs.guard", "mibench.jobs.worker", "sklearn.datasets", "torch._dynamo"]
"""Modules that are imported once for all jobs; torch's optimisers import the last one."""
NVML = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Torch then looks for a GPU without starting CUDA, which a process forked after that could not use."""
GRACE = 10.0
"""Seconds that guards get to end their jobs."""
_STARTING = threading.Lock()


@dataclass(frozen=True)
class RunningJob:
    """A job under way: its guard, and the memory that it is expected to need, in bytes."""

    process: Any
    pipe: Connection
    gpu: str | None
    memory: int


class Local:
    """Runs jobs as processes of this machine; see ``Engine``.

    Args:
        workers: jobs at a time, one torch thread each.
        gpus: numbers of the GPUs that the jobs are spread over, counted among those that CUDA_VISIBLE_DEVICES shows; () leaves
            the choice to torch.
    """

    def __init__(self, workers: int = 1, gpus: tuple[str, ...] = ()) -> None:
        self.workers, self.gpus = workers, tuple(map(_visible, gpus))
        self.guards: dict[Any, RunningJob] = {}
        self.context = multiprocessing.get_context("forkserver")
        self._lost: list[tuple[Any, Message]] = []

    def prepare(self) -> None:
        """Start the process from which all guards are forked; it loads torch.

        Raises:
            UsageError: this process may start no others.
        """
        if multiprocessing.current_process().daemon:
            raise UsageError("a worker of multiprocessing.Pool cannot start jobs; use threads, or the main process")
        self.context.set_forkserver_preload(PRELOADED)
        with _clean_start():
            forkserver.ensure_running()

    def __enter__(self) -> Local:
        self.prepare()
        return self

    def __exit__(self, *error: object) -> None:
        for guard in self.guards.values():
            guard.process.terminate()
        deadline = time.monotonic() + GRACE
        for guard in self.guards.values():
            guard.process.join(max(0.0, deadline - time.monotonic()))
            guard.process.kill()
            guard.pipe.close()
        self.guards.clear()

    def choose_device(self, wanted: Device) -> str:
        """CUDA where torch can use it, unless the CPU is wanted; see ``Engine``."""
        from mibench.evaluate.backends import choose_device

        return choose_device(wanted)

    def has_room(self, memory: int) -> bool:
        """Whether a worker is idle and memory suffices for one more job; the first job always starts."""
        if len(self.guards) >= self.workers:
            return False
        promised = sum(max(0, guard.memory - memory_used(guard.process.pid)) for guard in self.guards.values())
        return not self.guards or memory_left() - promised >= memory

    def start(self, job: Any, spec: JobSpec, memory: int) -> None:
        """Start a guard, which starts the job, on the GPU that has the fewest jobs."""
        used = [guard.gpu for guard in self.guards.values()]
        gpu = min(self.gpus, key=used.count, default=None)
        environment = {**os.environ, **THREADS, **NVML} | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
        ours, theirs = self.context.Pipe(duplex=False)
        arguments = spec.model_copy(update={"environment": environment}), theirs
        process = self.context.Process(target=run_guard, args=arguments)
        try:
            with _clean_start():
                process.start()
        except (EOFError, OSError) as error:
            reason = f"no process could be started: {str(error) or type(error).__name__}"
            self._lost.append((job, Lost(reason=reason)))
        else:
            self.guards[job] = RunningJob(process, ours, gpu, memory)
        finally:
            theirs.close()

    def wait(self) -> list[tuple[Any, Message]]:
        """See ``Engine``."""
        received, self._lost = self._lost, []
        sources = [source for guard in self.guards.values() for source in (guard.pipe, guard.process.sentinel)]
        ready = wait(sources, 0.0 if received else POLL)
        for job, guard in list(self.guards.items()):
            gone = guard.process.sentinel in ready
            message: Message | None = None
            with suppress(EOFError, OSError):
                while not isinstance(message, Ended) and guard.pipe.poll():
                    message = decode(guard.pipe.recv_bytes())
                    received.append((job, message))
            if gone and not isinstance(message, Ended):
                received.append((job, Lost(reason="the process that watches the job was killed")))
            if gone or isinstance(message, Ended):
                guard.pipe.close()
                del self.guards[job]
        return received


def _visible(gpu: str) -> str:
    """What CUDA_VISIBLE_DEVICES is to be for a GPU: its name in this process' own list, where there is one.

    Raises:
        UsageError: where the list is shorter.
    """
    known = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not known or not gpu.isdigit():
        return gpu
    if int(gpu) >= len(known):
        raise UsageError(f"--gpus {gpu}: CUDA_VISIBLE_DEVICES shows {len(known)} GPUs here; number them from 0")
    return known[int(gpu)]


@contextmanager
def _clean_start() -> Iterator[None]:
    """Start processes with one thread for each library, SIGINT blocked, and without importing the script of the driver.

    ``multiprocessing`` makes a new process import the module ``__main__``; an empty one takes its place meanwhile, so that
    scripts need no ``if __name__ == "__main__"``.
    """
    with _STARTING:
        variables = dict(os.environ)
        os.environ.update(THREADS | NVML)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            for name in (THREADS | NVML).keys() - variables.keys():
                del os.environ[name]
            os.environ.update(variables)
