"""The ray engine: runs jobs on a ray cluster, each under a guard as on this machine."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any

import psutil

from mibench.errors import MibenchError, UsageError
from mibench.jobs.engine import POLL
from mibench.jobs.local import Local
from mibench.jobs.messages import Ended, JobSpec, Lost, Message
from mibench.kinds import Device

__all__ = ["Cluster"]

FAILED_STARTS = 3
"""So many times may each worker fail to start before the run gives up."""
SILENCE = 20.0
"""Seconds without a running job and without an answer after which the cluster is asked whether it has a machine left."""


class Cluster:
    """Runs jobs on a ray cluster; see ``Engine``. All machines must share the folders of the store and of plugin files.

    Each worker is an actor that loads torch before its first job. One that dies is replaced; where a CPU is left there is a
    spare one, which takes the next job meanwhile.

    Args:
        workers: jobs at a time; None for as many as the cluster has CPUs (or shares of GPUs).
        address: HOST:PORT of a cluster, "auto" for the one of this machine; None starts one that ends with the run.
        gpu_share: of one GPU for each job, 0 for none.

    Raises:
        UsageError: ray is not installed, or the address is malformed.
    """

    def __init__(self, workers: int | None, address: str | None, gpu_share: float) -> None:
        if address not in (None, "auto") and not re.fullmatch(r"[^/\s]+:\d{1,5}", str(address)):
            raise UsageError(f"--address {str(address)[:60]}: give HOST:PORT, or auto for the cluster of this machine")
        self.workers, self.address, self.gpu_share = workers or 0, address, gpu_share
        self.starting: dict[Any, Any] = {}  # workers by ray's reference to the answer of ``ready``
        self.idle: list[Any] = []
        self.running: dict[Any, tuple[Any, Any]] = {}  # job and worker by ray's reference to the messages
        self.failed_starts, self.spare, self.last_message = 0, False, time.monotonic()
        try:
            import ray
        except ImportError as error:
            raise UsageError(f"--engine ray needs ray ({error}): pip install 'mibench[ray]'") from None
        self.ray: Any = ray

    def prepare(self) -> None:
        """Start or join the cluster and start its workers, while a thread loads torch for the driver.

        Raises:
            MibenchError: no cluster answers, or it has no CPU or GPU for jobs.
        """
        ThreadPoolExecutor(1).submit(import_module, "torch")  # if this fails, the driver's own import says why
        own = self.address is None
        try:
            if not own and self.address != "auto":  # ray itself would wait for minutes
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
                f"no ray cluster answers at {self.address or 'this machine'}: {_one_line(error, 160)}"
            ) from None
        resources = self.ray.cluster_resources()
        if not self.workers:
            count = resources.get("GPU", 0) / self.gpu_share if self.gpu_share else resources.get("CPU", 0) - own
            if count < 1:
                what = "GPU" if self.gpu_share else "CPU"
                raise MibenchError(f"the ray cluster has no {what} now; give --workers N to wait until it has")
            self.workers = int(count)
        self.spare = not self.gpu_share and resources.get("CPU", 0) > self.workers
        self._actor = self.ray.remote(num_cpus=1, num_gpus=self.gpu_share, max_restarts=0)(_Worker)
        for _ in range(self.workers):
            self._start_worker()

    def __enter__(self) -> Cluster:
        if not self.ray.is_initialized():
            self.prepare()
        return self

    def __exit__(self, *error: object) -> None:
        for worker in [*self.starting.values(), *self.idle, *(worker for _, worker in self.running.values())]:
            self.ray.kill(worker)
        self.running.clear()
        for process in psutil.Process().children():  # ray would wait a second for its autoscaler to end
            with suppress(psutil.Error):
                if any(word.endswith("autoscaler/_private/monitor.py") for word in process.cmdline()):
                    process.kill()
        self.ray.shutdown()

    def choose_device(self, wanted: Device) -> str:
        """CUDA where jobs have a share of a GPU, whatever this machine has; see ``Engine``."""
        return "cuda" if self.gpu_share else "cpu"

    def has_room(self, memory: int) -> bool:
        """Whether a worker is idle and fewer jobs run than may; ray itself looks after memory."""
        return bool(self.idle) and len(self.running) < self.workers

    def start(self, job: Any, spec: JobSpec, memory: int) -> None:
        """Give a job to the worker that ended one last; a new one may still be loading torch."""
        worker = self.idle.pop()
        self.running[worker.run.remote(spec, memory)] = job, worker

    def wait(self) -> list[tuple[Any, Message]]:
        """See ``Engine``.

        Raises:
            MibenchError: workers fail to start again and again, or no machine is left.
        """
        received: list[tuple[Any, Message]] = []
        ready, _ = self.ray.wait([*self.running, *self.starting], num_returns=1, timeout=POLL)
        if ready or self.running:
            self.last_message = time.monotonic()
        elif time.monotonic() > self.last_message + SILENCE:
            self.last_message = time.monotonic()
            if not any(node["Alive"] for node in self.ray.nodes()):
                raise MibenchError("the ray cluster has no machine left; run the same command again where there is one")
        for answer in ready:
            if answer in self.starting:
                self._worker_started(answer)
                continue
            job, worker = self.running[answer]
            try:
                message: Message = self.ray.get(next(answer))
            except (self.ray.exceptions.RayError, StopIteration) as error:
                message = Lost(reason=f"{type(error).__name__}: {_one_line(error, 80)}")
            received.append((job, message))
            if isinstance(message, Ended):
                del self.running[answer]
                self.idle.append(worker)
            elif isinstance(message, Lost):
                del self.running[answer]
                self.ray.kill(worker)
                self._start_worker()
        if received and self.spare:  # the spare worker starts after the first ones
            self.spare = False
            self._start_worker()
        return received

    def _start_worker(self) -> None:
        worker = self._actor.remote()
        self.starting[worker.ready.remote()] = worker

    def _worker_started(self, answer: Any) -> None:
        """Take a new worker in, or start another one if it died."""
        worker = self.starting.pop(answer)
        try:
            self.ray.get(answer)
        except self.ray.exceptions.RayError as error:
            self.failed_starts += 1
            if self.failed_starts >= FAILED_STARTS * self.workers:
                raise MibenchError(f"the ray cluster starts no worker: {_one_line(error, 200)}") from None
            self._start_worker()
        else:
            self.failed_starts = 0
            self.idle.insert(0, worker)


class _Worker:
    """Runs jobs one by one on the machine, and the GPU, that ray has given to this process."""

    def __init__(self) -> None:
        self.engine = Local()
        self.engine.prepare()

    def ready(self) -> None:
        """Answer, which says that this process has started."""

    def run(self, spec: JobSpec, memory: int) -> Iterator[Message]:
        """Run a job and give its messages."""
        self.engine.start("job", spec, memory)
        while True:
            for _, message in self.engine.wait():
                yield message
                if isinstance(message, (Ended, Lost)):
                    return


def _one_line(error: Exception, longest: int) -> str:
    return " ".join(str(error).split())[:longest]
