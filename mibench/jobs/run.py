"""Run a suite: the one function behind ``mibench run`` and ``mibench.run``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mibench.errors import UsageError
from mibench.jobs.engine import Engine
from mibench.jobs.estimate import estimate, shard
from mibench.jobs.job import group_trainings
from mibench.jobs.options import Event, JobOptions, OnEvent
from mibench.jobs.scheduler import Scheduler
from mibench.jobs.stop import Stop
from mibench.plugins import load
from mibench.results.store import Store
from mibench.suite.cells import Cell
from mibench.suite.edited import edit_notes, edited_cells, forget_edited
from mibench.suite.plan import Plan, State
from mibench.suite.suite import Suite, plan_cells

__all__ = ["Outcome", "Preview", "preview", "run_suite"]


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        plan: all cells of the suite, or of its part, with the places of their records.
        computed: the cells that had no valid record before.
        failures: those of them that failed, with the reason.
    """

    plan: Plan
    computed: list[Cell]
    failures: dict[Cell, str]


@dataclass(frozen=True)
class Preview:
    """What a run would do.

    Attributes:
        states: of all cells of the suite, or of its part.
        to_compute: how many cells would be computed; outdated records are upgraded instead, where possible.
        trainings: how many models would be trained, shadow models included.
        seconds: that one worker takes, at a guess from the sizes of the networks.
    """

    states: list[State]
    to_compute: int
    trainings: int
    seconds: float


def run_suite(
    suite: Suite,
    records: Path,
    store: Store,
    engine: Engine,
    options: JobOptions,
    on_event: OnEvent = lambda event: None,
    stop: Stop | None = None,
) -> Outcome:
    """Compute every cell of a suite that has no valid record; it prints nothing.

    Args:
        suite: which cells.
        records: folder of their records.
        store: where artifacts are kept.
        engine: where jobs run.
        options: how.
        on_event: called with what happens.
        stop: entered by the caller if signals are to stop the run; without it Ctrl-C raises KeyboardInterrupt.

    Raises:
        UsageError: a name, an option, a device or a folder is wrong.
        MibenchError: a record cannot be read, or the engine cannot work.
        Stopped: by a signal.
    """
    if not records.exists():  # there will be work; the engine starts while this process plans
        engine.prepare()
    plan = _plan(suite, records, store, options)
    for line in forget_edited(plan) if options.again else edit_notes(plan):
        on_event(Event("note" if options.again else "edited", message=line))
    missing = _cells_to_compute(plan, on_event)
    existing = next(folder for folder in (records, *records.parents) if folder.exists())
    if missing and not os.access(existing, os.W_OK):
        raise UsageError(f"the folder {existing} cannot be written; choose another or change its permissions")
    failures = Scheduler(plan, missing, engine, options, on_event, stop).run() if missing else {}
    return Outcome(plan, missing, failures)


def preview(suite: Suite, records: Path, store: Store, options: JobOptions) -> Preview:
    """What ``run_suite`` would do; it computes and writes nothing.

    Raises:
        UsageError: a name or an option is wrong.
        MibenchError: a record cannot be read.
    """
    plan = _plan(suite, records, store, options)
    found = plan.states()
    plan.refuse_broken(found)
    states = [state for state, _ in found]
    edited = edited_cells(plan) if options.again else {}
    cells = [
        cell
        for cell, state in zip(plan.cells, states, strict=True)
        if cell in edited or state not in ("done", "outdated")
    ]
    needed = {model.model_key: model for cell in cells for model in cell.models()}
    models = [model for key, model in needed.items() if not store.has("models", key)]
    trainings = {model.training_key for model in models if model.model_kind == "trained"}
    seconds = sum(estimate("models", job) for job in group_trainings(models)) + estimate("measure", cells)
    return Preview(states, len(cells), len(trainings), seconds)


def _plan(suite: Suite, records: Path, store: Store, options: JobOptions) -> Plan:
    """The cells of a suite, or of its part."""
    cells = plan_cells(load(options.plugins), suite)
    return Plan(cells if options.shard == (1, 1) else shard(cells, *options.shard), records, store)


def _cells_to_compute(plan: Plan, on_event: OnEvent) -> list[Cell]:
    """The cells without a valid record, after records of older metrics were upgraded.

    Raises:
        MibenchError: a record cannot be read.
    """
    states = plan.states()
    if outdated := [cell for cell, (state, _) in zip(plan.cells, states, strict=True) if state == "outdated"]:
        text = f"{plan.upgrade(outdated)} of {len(outdated)} outdated records upgraded; the others are computed again"
        on_event(Event("note", message=text))
        states = plan.states()
    plan.refuse_broken(states)
    missing = []
    for cell, (state, why) in zip(plan.cells, states, strict=True):
        if state == "stale":
            on_event(Event("stale", cell, why))
        if state != "done":
            missing.append(cell)
    return missing
