"""Jobs on a ray cluster: its workers run them as this machine would, each in a process of its own under a guard."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any

import psutil

from mibench.errors import MibenchError, UsageError
from mibench.jobs.engine import PATIENCE, Local, Message

__all__ = ["Cluster"]

STILLBORN = 3
SILENCE = 20.0


class Cluster:
    """Ray, as an ``Engine``. The store and loose plugin files must lie in folders that all of its machines share.

    Each worker is an actor that loads torch before its first job. One that dies is replaced; where a CPU is left there is a
    spare one, which takes the next job meanwhile.

    Args:
        workers: jobs at a time; None for as many as it has CPUs (or shares of GPUs).
        address: of a cluster, "auto" for the one of this machine; None starts one that ends with the run.
        gpu_share: of one GPU for each job, 0 for none.

    Raises:
        UsageError: without ray, or for an address that is none.
    """

    def __init__(self, workers: int | None, address: str | None, gpu_share: float) -> None:
        if address not in (None, "auto") and not re.fullmatch(r"[^/\s]+:\d{1,5}", str(address)):
            raise UsageError(f"--address {str(address)[:60]}: give HOST:PORT, or auto for the cluster of this machine")
        self.workers, self.address, self.gpu_share = workers or 0, address, gpu_share
        self.hired: dict[Any, Any] = {}  # by the answer that says that they are ready
        self.idle: list[Any] = []
        self.jobs: dict[Any, tuple[Any, Any]] = {}  # the job and its worker, by their messages
        self.stillborn, self.spare, self.heard = 0, False, time.monotonic()
        try:
            import ray
        except ImportError as error:
            raise UsageError(f"--engine ray needs ray ({error}): pip install 'mibench[ray]'") from None
        self.ray: Any = ray

    def prepare(self) -> None:
        """Start or join the cluster and hire its workers, which is mostly waiting: a thread loads torch for the driver.

        Raises:
            MibenchError: where none answers, or has none of what jobs need.
        """
        ThreadPoolExecutor(1).submit(import_module, "torch")  # what goes wrong there, the driver finds out itself
        own = self.address is None
        try:
            if not own and self.address != "auto":  # ray itself would look for it for minutes
                host, _, port = str(self.address).rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            self.ray.init(
                self.address or "local",
                num_cpus=(self.workers or os.cpu_count() or 1) + 1 if own else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (RuntimeError, ValueError, OverflowError, OSError) as error:
            raise MibenchError(
                f"no ray cluster answers at {self.address or 'this machine'}: {_words(error, 160)}"
            ) from None
        there = self.ray.cluster_resources()
        if not self.workers:
            count = there.get("GPU", 0) / self.gpu_share if self.gpu_share else there.get("CPU", 0) - own
            if count < 1:
                what = "GPU" if self.gpu_share else "CPU"
                raise MibenchError(f"the ray cluster has no {what} now; give --workers N to wait until it has")
            self.workers = int(count)
        self.spare = not self.gpu_share and there.get("CPU", 0) > self.workers
        self._worker = self.ray.remote(num_cpus=1, num_gpus=self.gpu_share, max_restarts=0)(_Worker)
        for _ in range(self.workers):
            self._hire()

    def __enter__(self) -> Cluster:
        if not self.ray.is_initialized():
            self.prepare()
        return self

    def __exit__(self, *error: object) -> None:
        for worker in [*self.hired.values(), *self.idle, *(worker for _, worker in self.jobs.values())]:
            self.ray.kill(worker)
        self.jobs.clear()
        for process in psutil.Process().children():  # ray would wait for its autoscaler, which is deaf, for a second
            with suppress(psutil.Error):
                if any(word.endswith("autoscaler/_private/monitor.py") for word in process.cmdline()):
                    process.kill()
        self.ray.shutdown()

    def room(self, memory: int) -> bool:
        """Whether a worker is idle, and fewer jobs run than may; their memory is for ray."""
        return bool(self.idle) and len(self.jobs) < self.workers

    def start(self, job: Hashable, task: Message) -> None:
        """Give a job to the worker that has just had one; a new one may still be loading torch."""
        worker = self.idle.pop()
        self.jobs[worker.run.remote(task)] = job, worker

    def wait(self) -> list[tuple[Any, Message]]:
        """See ``Engine``.

        Raises:
            MibenchError: the workers end before they begin, over and over, or no machine is left.
        """
        said: list[tuple[Any, Message]] = []
        ready, _ = self.ray.wait([*self.jobs, *self.hired], num_returns=1, timeout=PATIENCE)
        if ready or self.jobs:
            self.heard = time.monotonic()
        elif time.monotonic() > self.heard + SILENCE:
            self.heard = time.monotonic()
            if not any(node["Alive"] for node in self.ray.nodes()):
                raise MibenchError("the ray cluster has no machine left; run the same command again where there is one")
        for answer in ready:
            if answer in self.hired:
                self._welcome(answer)
                continue
            job, worker = self.jobs[answer]
            try:
                message: Message = self.ray.get(next(answer))
            except (self.ray.exceptions.RayError, StopIteration) as error:
                message = {"lost": f"{type(error).__name__}: {_words(error, 80)}"}
            said.append((job, message))
            if "end" in message or "lost" in message:
                del self.jobs[answer]
            if "end" in message:
                self.idle.append(worker)
            elif "lost" in message:
                self.ray.kill(worker)
                self._hire()
        if said and self.spare:  # not before the first workers work
            self.spare = False
            self._hire()
        return said

    def _hire(self) -> None:
        worker = self._worker.remote()
        self.hired[worker.ready.remote()] = worker

    def _welcome(self, answer: Any) -> None:
        """A new worker is ready, or has died before."""
        worker = self.hired.pop(answer)
        try:
            self.ray.get(answer)
        except self.ray.exceptions.RayError as error:
            self.stillborn += 1
            if self.stillborn >= STILLBORN * self.workers:
                raise MibenchError(f"the ray cluster starts no worker: {_words(error, 200)}") from None
            self._hire()
        else:
            self.stillborn = 0
            self.idle.insert(0, worker)


class _Worker:
    """Runs jobs one by one, on the machine and the GPU that ray has given to this process."""

    def __init__(self) -> None:
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.engine = Local(1, (gpu,) if gpu else ())
        self.engine.__enter__()

    def ready(self) -> None:
        """Nothing; that it is answered says enough."""

    def run(self, task: Message) -> Iterator[Message]:
        """What a job says."""
        self.engine.start("job", task)
        while True:
            for _, message in self.engine.wait():
                yield message
                if "end" in message or "lost" in message:
                    return


def _words(error: Exception, most: int) -> str:
    return " ".join(str(error).split())[:most]
