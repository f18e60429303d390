"""Jobs on a ray cluster: each is a task that runs it as this machine would, in a process of its own under a guard."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Hashable, Iterator
from typing import Any

from mibench.errors import MibenchError, UsageError
from mibench.harness.engine import PATIENCE, Local, Message

__all__ = ["Cluster"]


class Cluster:
    """Ray, as an ``Engine``. The store and loose plugin files must lie in folders that all of its machines share.

    Args:
        workers: jobs at a time; None for as many as it has CPUs (or shares of GPUs).
        address: of a cluster, "auto" for the one of this machine; None starts one that ends with the run.
        gpu_share: of one GPU for each job, 0 for none.
    """

    def __init__(self, workers: int | None, address: str | None, gpu_share: float) -> None:
        self.workers, self.address, self.gpu_share = workers or 0, address, gpu_share
        self.jobs: dict[Any, Any] = {}
        try:
            import ray
        except ImportError as error:
            raise UsageError(f"--engine ray needs ray ({error}): pip install 'mibench[ray]'") from None
        self.ray: Any = ray

    def __enter__(self) -> Cluster:
        cpus = (self.workers or os.cpu_count()) if self.address is None else None
        try:
            self.ray.init(
                self.address or "local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            text = " ".join(str(error).split())[:160]
            raise MibenchError(f"there is no ray cluster at {self.address or 'this machine'}: {text}") from None
        if not self.workers:
            there = self.ray.cluster_resources()
            count = there.get("GPU", 0) / self.gpu_share if self.gpu_share else there.get("CPU", 1)
            self.workers = max(1, int(count))
        self._serve = self.ray.remote(num_cpus=1, num_gpus=self.gpu_share, max_retries=0)(_serve)
        return self

    def __exit__(self, *error: object) -> None:
        for answers in self.jobs:
            self.ray.cancel(answers, force=True)
        self.jobs.clear()
        self.ray.shutdown()

    def room(self, memory: int) -> bool:
        """Whether fewer jobs run than may; where they go, and whether their memory suffices, is for ray."""
        return len(self.jobs) < self.workers

    def start(self, job: Hashable, task: Message) -> None:
        """Submit a job."""
        self.jobs[self._serve.remote(task)] = job

    def wait(self) -> list[tuple[Any, Message]]:
        """See ``Engine``."""
        if not self.jobs:
            time.sleep(PATIENCE)
            return []
        ready, _ = self.ray.wait(list(self.jobs), num_returns=1, timeout=PATIENCE)
        said = []
        for answers in ready:
            try:
                message: Message = self.ray.get(next(answers))
            except (self.ray.exceptions.RayError, StopIteration) as error:
                text = " ".join(str(error).split())
                message = {"lost": f"{type(error).__name__}: {text[:80]}"}
            said.append((self.jobs[answers], message))
            if "end" in message or "lost" in message:
                del self.jobs[answers]
        return said


def _serve(task: Message) -> Iterator[Message]:
    """What a job says, on the machine where it runs; its GPU is the one that ray has given to this process."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    with Local(1, (gpu,) if gpu else ()) as engine:
        engine.start("job", task)
        while True:
            for _, message in engine.wait():
                yield message
                if "end" in message or "lost" in message:
                    return
