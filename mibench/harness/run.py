"""The engine: run what is missing, one job per child process, train once and attack many."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mibench.errors import MibenchError
from mibench.harness.cells import Cell, job_from
from mibench.harness.plan import Plan
from mibench.harness.records import Record, write_record

__all__ = ["Event", "execute"]

TOGETHER = 16
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Event:
    """What happened: a cell is "done" or "failed", a model "trained", a job makes "progress" or has something to "say"."""

    kind: str
    cell: Cell
    record: Record | None = None
    message: str = ""
    share: float = 0.0


@dataclass
class _Job:
    """One child process: models to make, or the cells of one model to measure.

    Attributes:
        open: places of the cells that have no answer yet.
        begun: the place of the cell being worked on.
        end: what the child said last: nothing wrong, or one line; None where it said nothing.
    """

    kind: str
    cells: list[Cell]
    process: Any = None
    pipe: Connection | None = None
    open: set[int] = field(default_factory=set)
    begun: int | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        self.open = set(range(len(self.cells)))


def execute(
    plan: Plan, cells: list[Cell], workers: int, device: str, plugins: tuple[str, ...], tell: Callable[[Event], None]
) -> int:
    """Bring cells to a record.

    Args:
        plan: where records and artifacts are.
        cells: what to do; the cells of one model wait for it, and for the shadow models that their attacks want.
        workers: child processes at a time, one torch thread each.
        device: "cpu" or "cuda".
        plugins: loose plugin files.
        tell: called with every event.

    Returns:
        How many cells failed.
    """
    return _Run(plan, cells, workers, device, plugins, tell).finish()


class _Run:
    def __init__(
        self, plan: Plan, cells: list[Cell], workers: int, device: str, plugins: tuple[str, ...], tell: Any
    ) -> None:
        self.plan, self.workers, self.device, self.plugins, self.tell = plan, workers, device, plugins, tell
        self.failed = 0
        self.waiting: dict[str, list[Cell]] = {}  # cells by their model
        for cell in cells:
            self.waiting.setdefault(cell.model_key, []).append(cell)
        self.absent: dict[str, Cell] = {}  # models that are still to be made
        self.hopeless: dict[str, str] = {}  # models that could not be made, and why
        self.made: set[str] = set()
        for cell in cells:
            for model in _models(cell):
                if model.model_key not in self.absent and not self._there(model):
                    self.absent[model.model_key] = model
        self.queue: deque[_Job] = deque(_Job("models", group) for group in _trainings(list(self.absent.values())))
        self._release()

    def _there(self, cell: Cell) -> bool:
        try:
            return self.plan.weights(cell) is not None
        except MibenchError:
            return False

    def _release(self) -> None:
        """Queue the cells whose models are all made, in front; give up those whose models cannot be."""
        for key, group in list(self.waiting.items()):
            if any(model.model_key in self.absent for cell in group for model in _models(cell)):
                continue
            del self.waiting[key]
            if key in self.made:
                group = _undone(self.plan, key, group)
            ready = []
            for cell in group:
                why = [self.hopeless[m.model_key] for m in _models(cell) if m.model_key in self.hopeless]
                ready += [] if why else [cell]
                if why:
                    self._fail(cell, why[0], self.plan.log(cell, "models"))
            if ready:
                self.queue.appendleft(_Job("measure", ready))

    def finish(self) -> int:
        """Work until nothing is left; how many cells failed."""
        running: dict[Any, _Job] = {}
        with _single_threaded():
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["mibench.harness.worker", "sklearn.datasets"])
            try:
                while self.queue or running:
                    while self.queue and len(running) < self.workers:
                        job = self.queue.popleft()
                        self._start(context, job)
                        running[job.process.sentinel] = job
                    for job in self._finished(running):
                        self._settle(job)
            finally:
                for job in running.values():
                    job.process.kill()
                    job.process.join()
        return self.failed

    def _settle(self, job: _Job) -> None:
        """What a child that has ended leaves behind. Success is a valid result, not an exit code."""
        log = self.plan.log(job.cells[0], job.kind)
        message = job.end
        if message is None:
            code = job.process.exitcode
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
            message = f"the worker {how} without a result"
        if job.kind == "models":
            for cell in job.cells:
                key = cell.model_key
                self.absent.pop(key, None)
                if self._there(cell):
                    self.made.add(key)
                    self.tell(Event("trained", cell))
                else:
                    self.hopeless[key] = message or "the worker made no model"
            self._release()
            return
        blamed = {job.begun} & job.open if job.begun is not None else set()
        for place in sorted(blamed or job.open if message else ()):
            job.open.discard(place)
            self._fail(job.cells[place], message, log)
        if job.open:  # what the one who broke the process has cost the others
            self.queue.appendleft(_Job("measure", [job.cells[place] for place in sorted(job.open)]))

    def _fail(self, cell: Cell, message: str, log: Path) -> None:
        """A cell that failed has a record that says so; where its log lies is for this machine alone."""
        self.failed += 1
        with suppress(MibenchError):
            write_record(self.plan.path(cell), self.plan.failure(cell, message))
        self.tell(Event("failed", cell, message=f"{message} (log: {log})"))

    def _start(self, context: Any, job: _Job) -> None:
        ours, theirs = context.Pipe(duplex=False)
        message = {
            "cells": [job_from(cell) for cell in job.cells],
            "kind": job.kind,
            "device": self.device,
            "plugins": self.plugins,
            "store": str(self.plan.store.root),
            "log": str(self.plan.log(job.cells[0], job.kind)),
        }
        job.process = context.Process(target=_child, args=(message, theirs), daemon=True)
        job.process.start()
        theirs.close()
        job.pipe = ours

    def _finished(self, running: dict[Any, _Job]) -> Iterator[_Job]:
        """Wait for something to happen; take messages, and give the jobs whose process has ended."""
        pipes = {job.pipe: job for job in running.values() if job.pipe is not None}
        for ready in wait([*running, *pipes], timeout=1.0):
            if ready in running:
                job = running.pop(ready)
                while self._read(job):
                    pass
                job.process.join()
                yield job
            elif ready in pipes and pipes[ready].process.sentinel in running:
                self._read(pipes[ready])

    def _read(self, job: _Job) -> bool:
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
        cell = job.cells[job.begun or 0]
        if "progress" in message:
            done, total = message["progress"]
            self.tell(Event("progress", cell, message=job.kind, share=done / max(1, total)))
        elif "begin" in message:
            job.begun = message["begin"]
        elif "say" in message:
            self.tell(Event("say", cell, message=message["say"]))
        elif "place" in message:
            self._answer(job, message)
        else:
            job.end = message["end"]
        return True

    def _answer(self, job: _Job, message: dict[str, Any]) -> None:
        """A cell's record or failure."""
        place = message["place"]
        if place not in job.open:
            return
        job.open.discard(place)
        cell, log = job.cells[place], self.plan.log(job.cells[0], job.kind)
        if "failed" in message:
            self._fail(cell, message["failed"], log)
            return
        try:
            record = Record.model_validate(message["record"])
            write_record(self.plan.path(cell), record)
        except ValidationError as error:
            self._fail(cell, f"the worker's record is invalid: {str(error).splitlines()[0]}", log)
        except MibenchError as error:
            self._fail(cell, str(error), log)
        else:
            self.tell(Event("done", cell, record=record))


def _models(cell: Cell) -> list[Cell]:
    """The models that must be in the store for a cell, its own first; only trained ones have shadows there."""
    own = replace(cell, attack=None)
    return [own, *cell.shadows()] if cell.model == "trained" else [own]


def _trainings(models: list[Cell]) -> list[list[Cell]]:
    """Models in groups of one job each: all checkpoints of one training, and trainings that may go together."""
    alike: dict[str, dict[str, list[Cell]]] = {}
    for cell in models:
        kin = replace(cell, seed=0, shadow=None, checkpoint=0) if cell.model == "trained" else cell
        alike.setdefault(kin.model_key, {}).setdefault(cell.training_key, []).append(cell)
    groups = []
    for trainings in alike.values():
        each = list(trainings.values())
        share = math.ceil(len(each) / math.ceil(len(each) / TOGETHER))
        groups += [list(itertools.chain(*each[k : k + share])) for k in range(0, len(each), share)]
    return groups


def _undone(plan: Plan, key: str, group: list[Cell]) -> list[Cell]:
    """The cells of a new model that need a job: those asked for, and those whose records are of other weights."""
    same = [cell for cell in plan.cells if cell.model_key == key]
    return [cell for cell in same if cell in group or plan.state(cell)[0] == "stale"]


def _child(message: dict[str, Any], pipe: Connection) -> None:
    """What a new process does; torch is there already, and the driver itself never needs it."""
    from mibench.harness import worker

    worker.main(message, pipe)


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
