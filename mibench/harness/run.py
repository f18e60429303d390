"""The engine: run what is missing, one job per child process, train once and attack many."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from pydantic import ValidationError

from mibench.errors import MibenchError
from mibench.harness.cells import Cell, job_from
from mibench.harness.plan import Plan
from mibench.harness.records import Record, write_text

__all__ = ["Event", "execute"]

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Event:
    """What happened: a cell is "done" or "failed", a model "trained", or a job makes "progress"."""

    kind: str
    cell: Cell
    record: Record | None = None
    message: str = ""
    share: float = 0.0


@dataclass
class _Job:
    kind: str
    cell: Cell
    process: Any = None
    pipe: Connection | None = None
    answer: dict[str, Any] = field(default_factory=dict)


def execute(
    plan: Plan, cells: list[Cell], workers: int, device: str, plugins: tuple[str, ...], tell: Callable[[Event], None]
) -> int:
    """Bring cells to a record.

    Args:
        plan: where records and artifacts are.
        cells: what to do; the cells of one model wait for it.
        workers: child processes at a time, one torch thread each.
        device: "cpu" or "cuda".
        plugins: loose plugin files.
        tell: called with every event.

    Returns:
        How many cells failed.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.model_key, []).append(cell)
    queue: deque[_Job] = deque()
    failed = 0
    for group in groups.values():
        try:
            ready = plan.weights(group[0]) is not None
        except MibenchError:
            ready = False
        queue.extend(_Job("measure", cell) for cell in group) if ready else queue.append(_Job("model", group[0]))
    running: dict[Any, _Job] = {}
    with _single_threaded():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["mibench.harness.worker", "sklearn.datasets"])
        try:
            while queue or running:
                while queue and len(running) < workers:
                    job = queue.popleft()
                    _start(context, job, plan, device, plugins)
                    running[job.process.sentinel] = job
                for job in _finished(running, tell):
                    group = groups[job.cell.model_key] if job.kind == "model" else [job.cell]
                    message = _outcome(job, plan, tell)
                    if message is not None:
                        failed += len(group)
                        for cell in group:
                            _note_failure(plan, cell, job, message)
                            tell(Event("failed", cell, message=message))
                    elif job.kind == "model":
                        tell(Event("trained", job.cell))
                        queue.extendleft(_Job("measure", cell) for cell in reversed(_undone(plan, job.cell, group)))
        finally:
            for job in running.values():
                job.process.kill()
                job.process.join()
    return failed


def _undone(plan: Plan, model: Cell, group: list[Cell]) -> list[Cell]:
    """The cells of a new model that need a job: those asked for, and those whose records are of other weights."""
    same = [cell for cell in plan.cells if cell.model_key == model.model_key]
    return [cell for cell in same if cell in group or plan.state(cell)[0] == "stale"]


def _child(message: dict[str, Any], pipe: Connection) -> None:
    """What a new process does; torch is there already, and the driver itself never needs it."""
    from mibench.harness import worker

    worker.main(message, pipe)


def _start(context: Any, job: _Job, plan: Plan, device: str, plugins: tuple[str, ...]) -> None:
    ours, theirs = context.Pipe(duplex=False)
    message = job_from(job.cell) | {
        "kind": job.kind,
        "device": device,
        "plugins": plugins,
        "store": str(plan.store.root),
        "log": str(plan.log(job.cell, job.kind)),
    }
    job.process = context.Process(target=_child, args=(message, theirs), daemon=True)
    job.process.start()
    theirs.close()
    job.pipe = ours


def _finished(running: dict[Any, _Job], tell: Callable[[Event], None]) -> Iterator[_Job]:
    """Wait for something to happen; pass progress on, and give the jobs whose process has ended."""
    pipes = {job.pipe: job for job in running.values() if job.pipe is not None}
    for ready in wait([*running, *pipes], timeout=1.0):
        if ready in running:
            job = running.pop(ready)
            while _read(job, tell):
                pass
            job.process.join()
            yield job
        elif ready in pipes and pipes[ready].process.sentinel in running:
            _read(pipes[ready], tell)


def _read(job: _Job, tell: Callable[[Event], None]) -> bool:
    """Take one message from a job's pipe; False where there is none left."""
    if job.pipe is None:
        return False
    try:
        if not job.pipe.poll():
            return False
        message = json.loads(job.pipe.recv_bytes())
    except (EOFError, OSError, ValueError):
        job.pipe = None
        return False
    if "progress" in message:
        done, total = message["progress"]
        tell(Event("progress", job.cell, message=job.kind, share=done / max(1, total)))
    else:
        job.answer = message
    return True


def _outcome(job: _Job, plan: Plan, tell: Callable[[Event], None]) -> str | None:
    """None if the job did what it should, else what went wrong. Success is a valid result, not an exit code."""
    if "failed" in job.answer:
        return str(job.answer["failed"])
    code = job.process.exitcode
    log = plan.log(job.cell, job.kind)
    if not job.answer:
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return f"the worker {how} without a result (log: {log})"
    try:
        if job.kind == "model":
            return None if plan.store.has("models", job.cell.model_key) else f"the worker made no model (log: {log})"
        record = Record.model_validate(job.answer["record"])
        plan.keep(job.cell, record)
    except (ValidationError, KeyError) as error:
        return f"the worker's record is invalid: {str(error).splitlines()[0]} (log: {log})"
    except MibenchError as error:
        return str(error)
    tell(Event("done", job.cell, record=record))
    return None


def _note_failure(plan: Plan, cell: Cell, job: _Job, message: str) -> None:
    note = {"cell": cell.title, "message": message, "log": str(plan.log(cell, job.kind))}
    try:
        write_text(plan.failure(cell), json.dumps(note, indent=1) + "\n")
    except MibenchError:
        pass


@contextmanager
def _single_threaded() -> Iterator[None]:
    """The environment that workers start in, put back afterwards."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
