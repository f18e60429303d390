"""What the scheduler asks of an engine: ``local.Local`` runs jobs on this machine, ``ray.Cluster`` on a ray cluster."""

from __future__ import annotations

from typing import Any, Protocol

from mibench.jobs.messages import JobSpec, Message
from mibench.kinds import Device

__all__ = ["POLL", "Engine"]

POLL = 0.5
"""Seconds that ``Engine.wait`` waits at most."""


class Engine(Protocol):
    """Runs jobs while it is entered. When it is left, it ends the jobs that still run, with all that they have started."""

    workers: int

    def prepare(self) -> None:
        """Start what takes long, so that it goes on while the driver plans; called twice it does nothing."""

    def __enter__(self) -> Engine:
        """Prepare, if that was not done."""

    def __exit__(self, *error: object) -> None: ...

    def choose_device(self, wanted: Device) -> str:
        """The device of the jobs, "cpu" or "cuda".

        Raises:
            UsageError: the wanted device is missing.
        """

    def has_room(self, memory: int) -> bool:
        """Whether it would start a job now that needs so many bytes."""

    def start(self, job: Any, spec: JobSpec, memory: int) -> None:
        """Start a job.

        Args:
            job: comes back with each message of the job.
            spec: what to do.
            memory: bytes that it is expected to need.
        """

    def wait(self) -> list[tuple[Any, Message]]:
        """The messages of all jobs, after half a second at most; the last one of a job is ``Ended`` or ``Lost``."""
