"""What becomes of the cells of a job that went wrong: the one place that says what is retried, how, and what fails.

What is left of a job are the cells without a record or failure, or the models that are not stored. Success is a valid result,
not an exit code. The suspect is the cell that the worker computed last; where models are made, or nothing was begun, all are.

- Nothing is left: nothing to do.
- The worker was lost (its guard or its machine is gone): what is left is retried until it was tried ``LIVES``
  times. Then each cell or training is tried as often in a job of its own, which shows whose fault it was.
- Memory ran out: the suspect is retried with no other job beside it, since these may have used the memory.
- Another process killed the worker: the suspect is retried until it was tried ``LIVES`` times.
- Several trainings are left: each is retried in a job of its own, at once where memory ran out, otherwise when the retries above
  are used up.
- Otherwise, and when these retries are used up, the suspect fails with the reason that the guard or the worker gave.
- The cells that are no suspects are retried in a new job.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from mibench.jobs.job import LIVES, Job
from mibench.jobs.messages import Ended, Failed, Lost
from mibench.suite.cells import Cell

__all__ = ["Failure", "Retry", "after_end", "after_failure"]


@dataclass(frozen=True)
class Failure:
    """A cell, or a model, fails."""

    cell: Cell
    reason: str


@dataclass(frozen=True)
class Retry:
    """A job is queued; ``note`` says why, if the user should know."""

    job: Job
    note: str = ""


Decision = Failure | Retry


def after_failure(job: Job, cell: Cell, failed: Failed) -> Iterator[Decision]:
    """What becomes of a cell that raised an error, while its job goes on."""
    if failed.out_of_memory and not job.alone:
        yield from _after_memory(job, [cell])
    else:
        yield Failure(cell, failed.reason)


def after_end(job: Job, end: Ended | Lost, left: list[Cell]) -> Iterator[Decision]:
    """What becomes of the cells or models that a job left behind."""
    if not left:
        return
    if isinstance(end, Lost):
        yield from _after_loss(job, end.reason, left)
        return
    suspects = left
    if job.kind == "measure" and job.current is not None:
        suspects = [cell for cell in left if cell is job.cells[job.current]]
    reason = end.error or "the worker ended without a result"
    if end.out_of_memory and not job.alone:
        yield from _after_memory(job, suspects)
    elif end.killed and job.lives > 1 and suspects:
        yield _again(job, suspects, reason)
    elif job.kind == "models" and len(parts := _parts(job, suspects)) > 1:
        yield from _apart(job, parts, reason)
    else:
        yield from (Failure(cell, reason) for cell in suspects)
    others = [cell for cell in left if cell not in suspects]
    if others:
        yield Retry(Job(job.kind, others))


def _after_loss(job: Job, reason: str, left: list[Cell]) -> Iterator[Decision]:
    if job.lives > 1:
        yield _again(job, left, reason)
    elif len(parts := _parts(job, left)) > 1:
        yield from _apart(job, parts, reason)
    else:
        yield from (Failure(cell, f"its worker was lost {LIVES} times: {reason}") for cell in left)


def _after_memory(job: Job, cells: list[Cell]) -> Iterator[Decision]:
    if job.kind == "measure":
        for cell in cells:
            note = f"{cell.title}: out of memory; retrying with no other job running"
            yield Retry(Job(job.kind, [cell], alone=True), note)
        return
    trainings = _parts(job, cells)
    if len(trainings) > 1:
        yield from _apart(job, trainings, "out of memory")
        return
    yield Retry(
        Job(job.kind, cells, alone=True), f"{cells[0].model_title}: out of memory; retrying with no other job running"
    )


def _parts(job: Job, cells: list[Cell]) -> list[list[Cell]]:
    """What can be tried in a job of its own: a cell that is measured, or a training with its checkpoints."""
    if job.kind == "measure":
        return [[cell] for cell in cells]
    return [list(group) for _, group in itertools.groupby(cells, key=lambda cell: cell.training_key)]


def _apart(job: Job, parts: list[list[Cell]], reason: str) -> Iterator[Decision]:
    for part in parts:
        title = part[0].model_title if job.kind == "models" else part[0].title
        yield Retry(Job(job.kind, part, alone=job.alone), f"{title}: {reason}; retrying in a job of its own")


def _again(job: Job, cells: list[Cell], reason: str) -> Retry:
    title = cells[0].model_title if job.kind == "models" else cells[0].title
    return Retry(Job(job.kind, cells, alone=job.alone, lives=job.lives - 1), f"{title}: {reason}; retrying")
