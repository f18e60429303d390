"""The scheduler: run what is missing, train once and attack many; what fails costs its own cell, with a verdict in words."""

from __future__ import annotations

import bisect
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from mibench.errors import MibenchError, Stopped
from mibench.jobs.engine import Engine
from mibench.jobs.estimate import Clock, guess, sort
from mibench.jobs.locks import Claims
from mibench.jobs.stop import Stop
from mibench.results.record import Record, write_record
from mibench.suite.cells import Cell, CellSpec
from mibench.suite.plan import Plan

__all__ = ["Event", "Work", "execute"]

TOGETHER = 16
LIVES = 3
ELSEWHERE = 1.0


@dataclass(frozen=True)
class Work:
    """How jobs are done.

    Attributes:
        device: "cpu" or "cuda".
        plugins: loose plugin files.
        limit: seconds that a cell or a training may take; None for no limit.
    """

    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    limit: float | None = None


@dataclass(frozen=True)
class Event:
    """What happened: a cell is "done" or "failed", a model "trained", a job makes "progress" or has something to "say".

    Attributes:
        share: of the job that is done.
        left: seconds until all is done, None where it cannot be said.
    """

    kind: str
    cell: Cell | None = None
    message: str = ""
    share: float = 0.0
    left: float | None = None


@dataclass(eq=False)
class _Job:
    """One process: models to make, or the cells of one model to measure.

    Attributes:
        cost: seconds, as guessed; the longest job goes first.
        alone: nothing else runs beside it, since it has run out of memory.
        lives: how often it may lose its worker through no fault of its own.
        again: when to ask again for what another run had taken.
        open: places of the cells that have no answer yet.
        begun: the place of the cell being worked on.
    """

    kind: str
    cells: list[Cell]
    cost: float
    alone: bool = False
    lives: int = LIVES
    again: float = 0.0
    claims: list[str] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    begun: int | None = None

    def __post_init__(self) -> None:
        self.open = set(range(len(self.cells)))

    @property
    def turn(self) -> tuple[bool, float]:
        """Where it stands in the queue, whose last goes first."""
        return (not self.alone, self.cost)


def execute(plan: Plan, cells: list[Cell], engine: Engine, work: Work, tell: Callable[[Event], None]) -> int:
    """Bring cells to a record.

    Args:
        plan: where records and artifacts are.
        cells: what to do; the cells of one model wait for it, and for the shadow models that their attacks want.
        engine: where jobs run.
        work: how.
        tell: called with every event.

    Returns:
        How many cells failed.

    Raises:
        Stopped: by Ctrl-C or another signal; what was done until then is kept.
    """
    return _Run(plan, cells, engine, work, tell).finish()


class _Run:
    def __init__(
        self, plan: Plan, cells: list[Cell], engine: Engine, work: Work, tell: Callable[[Event], None]
    ) -> None:
        self.plan, self.engine, self.work, self.tell = plan, engine, work, tell
        self.clock, self.claims = Clock(), Claims(plan.store.root / "locks")
        self.failed = 0
        self.queue: list[_Job] = []
        self.running: set[_Job] = set()
        self.waiting: dict[str, list[Cell]] = {}  # cells by their model
        for cell in cells:
            self.waiting.setdefault(cell.model_key, []).append(cell)
        self.absent: dict[str, Cell] = {}  # models that are still to be made
        self.hopeless: dict[str, str] = {}  # models that could not be made, and why
        self.made: set[str] = set()
        self.looked = -math.inf
        self.left: float | None = None
        for cell in cells:
            for model in cell.models():
                if model.model_key not in self.absent and not self._there(model):
                    self.absent[model.model_key] = model
        for group in _trainings(list(self.absent.values())):
            self._add("models", group)
        self._release()

    def finish(self) -> int:
        """Work until nothing is left; how many cells failed."""
        told = False
        with self.engine, Stop() as stop:
            while not stop.now:
                if not stop.asked:
                    self._begin()
                elif self.running and not told:
                    told = True
                    text = f"stopping when the jobs in flight ({len(self.running)}) are done; Ctrl-C again stops now"
                    self.tell(Event("say", None, text))
                if not self.running and (stop.asked or not self.queue):
                    break
                for job, message in self.engine.wait():
                    if not stop.now:  # else it may have been stopped with this process
                        self._hear(job, message)
        if stop.now or stop.asked:
            raise Stopped(stop.now)
        return self.failed

    def _there(self, cell: Cell) -> bool:
        try:
            return self.plan.weights(cell) is not None
        except MibenchError:
            return False

    def _done(self, cell: Cell) -> bool:
        try:
            return self.plan.state(cell)[0] == "done"
        except MibenchError:
            return False

    def _add(self, kind: str, cells: list[Cell], **more: Any) -> None:
        """Queue a job. The cost of models is also that of what waits for them."""
        cost = guess(kind, cells)
        if kind == "models":
            cost += max(guess("measure", self.waiting.get(cell.model_key, [])) for cell in cells)
        bisect.insort(self.queue, _Job(kind, cells, cost, **more), key=lambda job: job.turn)

    def _release(self) -> None:
        """Queue the cells whose models are all made; give up those whose models cannot be."""
        for key, group in list(self.waiting.items()):
            if any(model.model_key in self.absent for cell in group for model in cell.models()):
                continue
            del self.waiting[key]
            if key in self.made:
                group = _undone(self.plan, key, group)
            ready = []
            for cell in group:
                why = [self.hopeless[m.model_key] for m in cell.models() if m.model_key in self.hopeless]
                ready += [] if why else [cell]
                if why:
                    self._fail(cell, why[0])
            if ready:
                self._add("measure", ready)

    def _begin(self) -> None:
        """Begin jobs while there is room, the longest first."""
        now = time.monotonic()
        for job in reversed(self.queue.copy()):
            if any(other.alone for other in self.running) or not self.engine.room(
                self.clock.memory[sort(job.kind, job.cells)]
            ):
                return
            if job.again > now or (job.alone and self.running):
                continue
            self.queue.remove(job)
            self._claim(job)
            if job.cells:
                self._start(job)

    def _claim(self, job: _Job) -> None:
        """Take what a job is to make; what another run has taken is asked for later, what it has made needs no job."""
        kept, later = [], []
        for name, group in itertools.groupby(job.cells, key=lambda cell: _claim_name(job.kind, cell)):
            if name in job.claims or self.claims.take(name):
                job.claims.append(name)
                kept += list(group)
            else:
                later += list(group)
        if later:
            self._add(job.kind, later, alone=job.alone, lives=job.lives, again=time.monotonic() + ELSEWHERE)
        if job.kind == "models":
            job.cells = [cell for cell in kept if not self._made(cell)]
            if len(job.cells) < len(kept):
                self._release()
        else:
            job.cells = []
            for cell in kept:
                if self._done(cell):
                    self._tell("done", cell)
                else:
                    job.cells.append(cell)
        job.open = set(range(len(job.cells)))
        if not job.cells:
            self._give(job)

    def _start(self, job: _Job) -> None:
        count = len({cell.training_key for cell in job.cells}) if job.kind == "models" else 1
        task = {
            "cells": [CellSpec.of(cell).model_dump(mode="json") for cell in job.cells],
            "kind": job.kind,
            "device": self.work.device,
            "plugins": self.work.plugins,
            "store": str(self.plan.store.root),
            "log": str(self.plan.log(job.cells[0], job.kind, job.alone)),
            "limit": self.work.limit and self.work.limit * count,
            "titles": [_heading(job.kind, cell) for cell in job.cells],
        }
        self.clock.start(job, sort(job.kind, job.cells), guess(job.kind, job.cells))
        self.engine.start(job, task)
        self.running.add(job)

    def _hear(self, job: _Job, message: dict[str, Any]) -> None:
        """Take what a job has said."""
        cell = job.cells[job.begun or 0]
        if "progress" in message:
            done, total = message["progress"]
            share = done / max(1, total)
            self.clock.progress(job, share)
            self._tell("progress", cell, job.kind, share)
        elif "begin" in message:
            job.begun = message["begin"]
        elif "say" in message:
            self._tell("say", cell, message["say"])
        elif "place" in message:
            self._answer(job, message)
        else:
            self.running.discard(job)
            self.clock.end(job, message.get("held", 0))
            left = [job.cells[place] for place in sorted(job.open)]
            if "lost" in message and left and job.lives > 1:
                self._once_more(job, left, message["lost"])
            else:
                self._settle(job, message)
            self._give(job)

    def _settle(self, job: _Job, message: dict[str, Any]) -> None:
        """What a job that has ended leaves behind. Success is a valid result, not an exit code."""
        verdict = message["end"] if "end" in message else f"{LIVES} workers were lost: {message['lost']}"
        again = bool(message.get("memory")) and not job.alone
        killed = bool(message.get("killed")) and job.lives > 1
        if job.kind == "models":
            left = [cell for cell in job.cells if not self._made(cell, told=True)]
            if left and killed:
                self._once_more(job, left, verdict)
                left = []
            parts = [list(part) for _, part in itertools.groupby(left, key=lambda cell: cell.training_key)]
            for part in parts if again else []:
                self._add("models", part, alone=len(parts) == 1)
            for cell in left if not again else []:
                del self.absent[cell.model_key]
                self.hopeless[cell.model_key] = verdict or "the worker made no model"
            self._release()
            return
        left = [job.cells[place] for place in sorted(job.open)]
        if len(left) > 1 and (message.get("unsure") or "lost" in message):  # who it was shows when each is by itself
            for cell in left:
                self._add("measure", [cell], alone=job.alone)
            return
        blamed = left if job.begun is None else [job.cells[job.begun]] if job.begun in job.open else []
        for cell in blamed:
            if again:
                self._alone(cell)
            elif killed:
                self._once_more(job, [cell], verdict)
            else:
                self._fail(cell, verdict or "the worker gave it no answer")
        rest = [cell for cell in left if cell not in blamed]
        if rest:  # what the one who broke the process has cost the others
            self._add("measure", rest)

    def _answer(self, job: _Job, message: dict[str, Any]) -> None:
        """A cell's record or failure."""
        place = message["place"]
        if place not in job.open or place != job.begun:
            return
        job.open.discard(place)
        self.clock.progress(job, 1 - len(job.open) / len(job.cells))
        cell = job.cells[place]
        if "failed" in message:
            if message.get("memory") and not job.alone:
                self._alone(cell)
            else:
                self._fail(cell, message["failed"])
            return
        try:
            record = Record.model_validate(message["record"])
            if not self._of(record, cell):
                raise MibenchError("the worker's record is not what this cell gives")
            write_record(self.plan.path(cell), record)
        except ValidationError as error:
            self._fail(cell, f"the worker's record is invalid: {str(error).splitlines()[0]}")
        except MibenchError as error:
            self._fail(cell, str(error))
        else:
            self._tell("done", cell)

    def _of(self, record: Record, cell: Cell) -> bool:
        """Whether a record is whole, and of a cell and its stored weights."""
        weights = self.plan.weights(cell) or record.model.digest
        known = (record.content_digest(), cell.key(weights), cell.labels)
        return (record.digest, record.key, record.labels) == known

    def _once_more(self, job: _Job, cells: list[Cell], why: str) -> None:
        """The worker has died through no fault that is known: what it was at is tried again."""
        title = cells[0].model_title if job.kind == "models" else cells[0].title
        self._tell("say", cells[0], f"{title}: {why}; it is tried again")
        self._add(job.kind, cells, alone=job.alone, lives=job.lives - 1)

    def _alone(self, cell: Cell) -> None:
        """The memory may have been its neighbours': they are not to be blamed, and neither is this cell, until it is alone."""
        self._tell("say", cell, f"{cell.title}: memory did not suffice; it is tried again with nothing beside it")
        self._add("measure", [cell], alone=True)

    def _made(self, cell: Cell, told: bool = False) -> bool:
        """Whether a model is there, and noted as such."""
        if not self._there(cell):
            return False
        self.absent.pop(cell.model_key, None)
        self.made.add(cell.model_key)
        if told:
            self._tell("trained", cell)
        return True

    def _fail(self, cell: Cell, message: str) -> None:
        """A cell that failed has a record that says so."""
        self.failed += 1
        with suppress(MibenchError):
            if not self._done(cell):  # by another run
                write_record(self.plan.path(cell), self.plan.failure(cell, message))
        self._tell("failed", cell, message)

    def _give(self, job: _Job) -> None:
        for name in job.claims:
            self.claims.give(name)
        job.claims.clear()

    def _tell(self, kind: str, cell: Cell, message: str = "", share: float = 0.0) -> None:
        self.tell(Event(kind, cell, message, share, self._left()))

    def _left(self) -> float | None:
        """Seconds until all is done, looked at once a second."""
        now = time.monotonic()
        if now > self.looked + 1.0:
            waiting: dict[str, float] = defaultdict(float)
            for job in self.queue:
                waiting[sort(job.kind, job.cells)] += guess(job.kind, job.cells)
            for group in self.waiting.values():
                waiting[sort("measure", group)] += guess("measure", group)
            self.looked, self.left = now, self.clock.left(waiting, self.engine.workers)
        return self.left


def _claim_name(kind: str, cell: Cell) -> str:
    return f"{kind}-{cell.training_key if kind == 'models' else cell.model_key}"


def _heading(kind: str, cell: Cell) -> str:
    """By which a log is found: the title, and for a cell the path of its record."""
    return f"# {cell.model_title}" if kind == "models" else f"# {cell.title} [{cell.path}]"


def _trainings(models: list[Cell]) -> list[list[Cell]]:
    """Models in groups of one job each: all checkpoints of a training, and the trainings that go with it."""
    alike: dict[tuple[str, bool], dict[str, list[Cell]]] = {}
    for cell in models:
        kin = replace(cell, shadow=None, checkpoint=0, seed=cell.seed if cell.model_kind == "trained" else 0)
        company = kin.model_key, cell.shadow is not None  # shadows of one target; exact models of all seeds
        alike.setdefault(company, {}).setdefault(cell.training_key, []).append(cell)
    groups = []
    for trainings in alike.values():
        each = list(trainings.values())
        share = math.ceil(len(each) / math.ceil(len(each) / TOGETHER))
        groups += [list(itertools.chain(*each[k : k + share])) for k in range(0, len(each), share)]
    return groups


def _undone(plan: Plan, key: str, group: list[Cell]) -> list[Cell]:
    """The cells of a new model that need a job: those asked for, and those whose records are of other weights."""
    same = [cell for cell in plan.cells if cell.model_key == key]
    return [cell for cell in same if cell in group or plan.state(cell)[0] in ("stale", "outdated")]
