"""The scheduler: makes missing models once, measures their cells, and writes the records."""

from __future__ import annotations

import bisect
import itertools
import math
import time
from collections.abc import Iterable
from contextlib import suppress

from mibench.errors import MibenchError, Stopped
from mibench.jobs.dependencies import Dependencies
from mibench.jobs.engine import Engine
from mibench.jobs.estimate import Clock, estimate
from mibench.jobs.job import Job, group_trainings
from mibench.jobs.locks import JobLocks
from mibench.jobs.messages import Begin, Done, Ended, Failed, JobSpec, Lost, Message, Progress, Say
from mibench.jobs.options import Event, EventKind, JobOptions, OnEvent
from mibench.jobs.policy import Decision, Failure, after_end, after_failure
from mibench.jobs.stop import Stop
from mibench.results.record import Record, write_record
from mibench.suite.cells import Cell, CellSpec
from mibench.suite.plan import Plan

__all__ = ["Scheduler"]

LOCK_RETRY = 1.0
"""Seconds until a job is tried again whose locks another run holds."""


class Scheduler:
    """Brings cells to their records.

    Args:
        plan: where records and artifacts are.
        cells: to be computed. They wait for their models, and for the shadow models of their attacks.
        engine: where jobs run.
        options: how.
        on_event: called with every event.
        stop: entered by the caller if signals are to stop the run.
    """

    def __init__(
        self,
        plan: Plan,
        cells: list[Cell],
        engine: Engine,
        options: JobOptions,
        on_event: OnEvent,
        stop: Stop | None = None,
    ) -> None:
        self.plan, self.cells, self.engine, self.options, self.on_event = plan, cells, engine, options, on_event
        self.stop = stop or Stop()
        self.device = engine.choose_device(options.device)
        self.clock, self.locks = Clock(), JobLocks(plan.store.root / "locks")
        self.dependencies = Dependencies(plan, cells)
        self.queue: list[Job] = []  # the last one is next
        self.running: set[Job] = set()
        self.finished: set[str] = set()  # paths of records
        self.failures: dict[Cell, str] = {}
        self.seconds_left: float | None = None
        self._estimated_at = -math.inf

    def run(self) -> dict[Cell, str]:
        """Work until nothing is left.

        Returns:
            The cells that failed, with the reason.

        Raises:
            Stopped: by a signal; what was done until then is kept.
        """
        self._report("begin")
        announced = False
        with self.engine:
            missing = list(self.dependencies.missing.values())
            for group in group_trainings(missing, self.engine.workers, self.dependencies.begun()):
                self._enqueue(Job("models", group))
            self._enqueue_ready_cells()
            while not self.stop.signal:
                if not self.stop.requested:
                    self._start_jobs()
                elif self.running and not announced:
                    announced = True
                    count = len(self.running)
                    text = f"stopping when the jobs in flight ({count}) are done; Ctrl-C again stops now"
                    self._report("note", message=text)
                if not self.running and (self.stop.requested or not self.queue):
                    break
                for job, message in self.engine.wait():
                    if not self.stop.signal:  # else the signal may have ended the job, too
                        self.on_message(job, message)
        if self.stop.requested:
            raise Stopped(self.stop.signal)
        return self.failures

    def on_message(self, job: Job, message: Message) -> None:
        """Take a message of a job."""
        cell = job.cells[job.current or 0]
        match message:
            case Begin():
                job.current = message.cell_index
            case Progress():
                share = message.done / max(1, message.total)
                self.clock.progress(job, share)
                self._report("progress", cell, job.kind, share)
            case Say():
                self._report("note", cell, message.text)
            case Done() | Failed():
                job.unanswered.discard(message.cell_index)
                self.clock.progress(job, 1 - len(job.unanswered) / len(job.cells))
                cell = job.cells[message.cell_index]
                if isinstance(message, Done):
                    self._save(cell, message.record)
                else:
                    self._carry_out(job, after_failure(job, cell, message))
            case Ended() | Lost():
                self._end(job, message)

    def matches_cell(self, record: Record, cell: Cell) -> bool:
        """Whether a record is whole, and of this cell and its stored weights."""
        weights = self.plan.weights(cell) or record.model.digest
        expected = (record.content_digest(), cell.key(weights), cell.labels)
        return (record.digest, record.key, record.labels) == expected

    def release_locks(self, job: Job) -> None:
        """Let other runs do what the job was to do."""
        for name in job.locks:
            self.locks.release(name)
        job.locks.clear()

    def _enqueue(self, job: Job) -> None:
        """Queue a job: those that run alone last, else the longest first. Models count with the cells that wait for them."""
        job.cost = estimate(job.kind, job.cells)
        if job.kind == "models":
            waiting = self.dependencies.waiting
            job.cost += max(estimate("measure", waiting.get(cell.model_key, [])) for cell in job.cells)
        bisect.insort(self.queue, job, key=lambda job: (not job.alone, job.cost))

    def _enqueue_ready_cells(self) -> None:
        """Queue the cells whose models are made; fail those whose models cannot be made."""
        ready, failed = self.dependencies.take_ready()
        for cell, reason in failed:
            self._fail(cell, reason)
        for cells in ready:
            self._enqueue(Job("measure", cells))

    def _start_jobs(self) -> None:
        """Start jobs while there is room."""
        now = time.monotonic()
        for job in reversed(self.queue.copy()):
            memory = self.clock.memory[job.job_class]
            if any(other.alone for other in self.running) or not self.engine.has_room(memory):
                return
            if job.not_before > now or (job.alone and self.running):
                continue
            self.queue.remove(job)
            self._lock(job)
            self._drop_finished(job)
            if job.cells:
                self.clock.start(job, job.job_class, estimate(job.kind, job.cells))
                self.engine.start(job, self._spec(job), memory)
                self.running.add(job)
            else:
                self.release_locks(job)

    def _lock(self, job: Job) -> None:
        """Take the locks of a job; the cells whose locks another run holds are queued for later."""
        locked: list[Cell] = []
        later: list[Cell] = []
        for name, group in itertools.groupby(job.cells, key=job.lock_of):
            if self.locks.acquire(name):
                job.locks.append(name)
                locked += group
            else:
                later += group
        job.cells = locked
        if later:
            again = time.monotonic() + LOCK_RETRY
            self._enqueue(Job(job.kind, later, alone=job.alone, lives=job.lives, not_before=again))

    def _drop_finished(self, job: Job) -> None:
        """Leave out of a job what another run has finished meanwhile."""
        cells = job.cells
        if job.kind == "models":
            job.cells = [cell for cell in cells if not self.dependencies.check_made(cell)]
            if len(job.cells) < len(cells):
                self._enqueue_ready_cells()
        else:
            job.cells = [cell for cell in cells if not self._is_done(cell)]
            for cell in cells:
                if cell not in job.cells:
                    self._finish("done", cell)
        job.unanswered = set(range(len(job.cells)))

    def _spec(self, job: Job) -> JobSpec:
        return JobSpec(
            kind=job.kind,
            cells=tuple(CellSpec.of(cell) for cell in job.cells),
            device=self.device,
            store=self.plan.store.root,
            log=self.plan.log(job.cells[0], job.kind, job.alone),
            plugins=self.options.plugins,
            titles=job.log_titles,
            time_limit=self.options.time_limit and self.options.time_limit * job.trainings,
        )

    def _end(self, job: Job, message: Ended | Lost) -> None:
        """A job has ended: note the models it made, and decide on what it left behind."""
        self.running.discard(job)
        self.clock.end(job, message.memory_used if isinstance(message, Ended) else 0)
        left = job.open_cells()
        if job.kind == "models":
            for model in job.cells:
                if self.dependencies.check_made(model):
                    self._report("trained", model)
                    left = [other for other in left if other is not model]
        self._carry_out(job, after_end(job, message, left))
        if job.kind == "models":
            self._enqueue_ready_cells()
        self.release_locks(job)

    def _carry_out(self, job: Job, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            if not isinstance(decision, Failure):
                if decision.note:
                    self._report("note", decision.job.cells[0], decision.note)
                self._enqueue(decision.job)
            elif job.kind == "models":
                self.dependencies.give_up(decision.cell, decision.reason)
            else:
                self._fail(decision.cell, decision.reason)

    def _save(self, cell: Cell, record: Record) -> None:
        """Write the record of a cell."""
        try:
            if not self.matches_cell(record, cell):
                raise MibenchError(
                    "the worker's record is of another cell; mibench or a plugin has another version on the worker's machine"
                )
            write_record(self.plan.path(cell), record)
        except MibenchError as error:
            self._fail(cell, str(error))
        else:
            self._finish("done", cell)

    def _fail(self, cell: Cell, reason: str) -> None:
        """Write the record of a cell that failed, unless another run has computed it."""
        self.failures[cell] = reason
        with suppress(MibenchError):
            if not self._is_done(cell):
                write_record(self.plan.path(cell), self.plan.failure(cell, reason))
        self._finish("failed", cell, reason)

    def _is_done(self, cell: Cell) -> bool:
        try:
            return self.plan.state(cell)[0] == "done"
        except MibenchError:
            return False

    def _finish(self, kind: EventKind, cell: Cell, message: str = "") -> None:
        self.finished.add(cell.path)
        self._report(kind, cell, message)

    def _report(self, kind: EventKind, cell: Cell | None = None, message: str = "", share: float = 0.0) -> None:
        """Report an event; the time left is estimated once a second."""
        now = time.monotonic()
        if now > self._estimated_at + 1.0:
            waiting = [(job.kind, job.cells) for job in self.queue]
            waiting += [("measure", cells) for cells in self.dependencies.waiting.values()]
            self._estimated_at, self.seconds_left = now, self.clock.seconds_left(waiting, self.engine.workers)
        total = max(len(self.cells), len(self.finished))  # records of other weights may add to them
        self.on_event(Event(kind, cell, message, share, len(self.finished), total, self.seconds_left))
