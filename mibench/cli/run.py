"""``mibench run``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.cli.cells import CELL_FLAGS, extended_suite, suite_of_flags
from mibench.cli.common import SUITE, add_json, add_plugins, add_store, counted, open_store, print_json
from mibench.cli.jobs import add_cluster, add_jobs, engine_of, options_of
from mibench.errors import UsageError, one_line

if TYPE_CHECKING:
    from mibench.jobs.engine import Engine
    from mibench.jobs.options import JobOptions
    from mibench.jobs.run import Outcome
    from mibench.results.store import Store
    from mibench.suite.suite import Suite

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="?", help=f"{SUITE}; --defense and --attack add to it")
    for article, kind, default in (("a", "defense", ""), ("an", "attack", ""), ("a", "dataset", " (default: digits)")):
        parser.add_argument(
            f"--{kind}",
            action="append",
            metavar="NAME[:OPTION=VALUE,…]",
            help=f"name of {article} {kind}, or several in quotes; repeatable{default}",
        )
    parser.add_argument(
        "--seed",
        action="append",
        type=int,
        metavar="N",
        help="of split, training and noise; repeatable (default: 0)",
    )
    parser.add_argument(
        "--model",
        choices=["trained", "exact", "fresh"],
        help="a trained model (default), the exact model of the members, or that of fresh data",
    )
    parser.add_argument("--recipe", metavar="OPTION=VALUE,…", help="training recipe, such as steps=2000,width=128")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="generated samples that measure utility (default: 1000)"
    )
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="S",
        help="scale of classifier-free guidance with which they are drawn, of models that know classes (default: 1, none)",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="compute those cells anew whose dataset, defense or attack has other code than when their records were made",
    )
    parser.add_argument(
        "--record", metavar="FILE", help="make the cell of this record again, and compare its figures with the record's"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be computed and about how long it takes; write nothing"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print no progress and no notes, only failures and the result"
    )
    add_json(parser)
    add_cluster(add_jobs(parser))
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Run what the arguments ask for."""
    from mibench.suite.suite import load_suite, loose_records

    jobs = engine_of(args), replace(options_of(args), again=args.again)
    if args.record:
        return _make_again(args, *jobs)
    if args.suite:
        located = load_suite(args.suite)
        suite, records = extended_suite(located.suite, args), located.folder / "records"
        store = open_store(args, write=not args.dry_run)
    else:
        suite = suite_of_flags(args)
        store = open_store(args, write=not args.dry_run)
        records = loose_records(store.root, suite)
    return (_preview if args.dry_run else _run)(suite, records, store, *jobs, args)


def _run(
    suite: Suite, records: Path, store: Store, engine: Engine, options: JobOptions, args: argparse.Namespace
) -> int:
    """Compute what is missing."""
    from mibench.cli.progress import ProgressDisplay
    from mibench.jobs.run import run_suite
    from mibench.jobs.stop import Stop

    began = time.monotonic()
    with Stop() as stop, ProgressDisplay(args.quiet) as display:
        outcome = run_suite(suite, records, store, engine, options, display.on_event, stop)
    seconds, failed = time.monotonic() - began, len(outcome.failures)
    if args.json:
        _print_json(outcome, seconds, suite, options)
    else:
        _print_outcome(outcome, seconds, args)
    if failed:
        print(
            "run the same command again to retry the cells that failed; `mibench log CELL` prints what their jobs printed",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _print_outcome(outcome: Outcome, seconds: float, args: argparse.Namespace) -> None:
    """A line for each cell, unless a suite was named, and the counts."""
    from mibench.cli.summary import print_summary

    if not args.suite:
        print_summary(outcome.plan)
    cells, failed = len(outcome.plan.cells), len(outcome.failures)
    computed = len(outcome.computed) - failed
    print(f"{cells - failed} of {cells} cells done, {computed} now, {failed} failed, {seconds:.0f} s")


def _print_json(outcome: Outcome, seconds: float, suite: Suite, options: JobOptions) -> None:
    """The counts, and the figures of every cell."""
    from mibench.leaderboard.frame import rows_of
    from mibench.leaderboard.selection import select
    from mibench.plugins import load
    from mibench.results.known import Known
    from mibench.results.record import read_record

    plan = outcome.plan
    found = [(path, read_record(path)) for path in map(plan.path, plan.cells) if path.exists()]
    failed = len(outcome.failures)
    counts = {"total": len(plan.cells), "computed": len(outcome.computed) - failed, "failed": failed}
    rows = rows_of(found, select(suite, found, Known.of(load(options.plugins))), plan.records.parent)
    print_json({**counts, "seconds": seconds, "cells": rows})


def _preview(
    suite: Suite, records: Path, store: Store, engine: Engine, options: JobOptions, args: argparse.Namespace
) -> int:
    """Print what a run would do."""
    from mibench.cli.progress import duration
    from mibench.jobs.run import preview

    work = preview(suite, records, store, options)
    seconds = work.seconds / engine.workers
    states = dict(sorted(Counter(work.states).items()))
    if args.json:
        print_json({"total": len(work.states), "states": states, "trainings": work.trainings, "seconds": seconds})
        return 0
    print(f"{counted(len(work.states), 'cell')}: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    time_left = f", {duration(seconds)} at a guess" if work.to_compute else ""
    todo = f"compute {counted(work.to_compute, 'cell')} and train {counted(work.trainings, 'model')}"
    print(f"would {todo}{time_left}; nothing was done")
    return 0


def _make_again(args: argparse.Namespace, engine: Engine, options: JobOptions) -> int:
    """Make the cell of a record again, with what the store holds of it, and say whether the figures agree."""
    from mibench.cli.progress import ProgressDisplay
    from mibench.jobs.repeat import repeat
    from mibench.jobs.stop import Stop
    from mibench.plugins import load
    from mibench.results.record import read_named_record, read_record
    from mibench.source import code_changed, code_digest
    from mibench.suite.plan import Plan
    from mibench.suite.recorded import cell_of

    given = ["suite"] if args.suite else []
    given += [f"--{name}" for name in ("defense", "attack", *CELL_FLAGS, "shard") if getattr(args, name) is not None]
    if given:
        raise UsageError(f"--record says what to run; leave out {', '.join(given)}")
    if given := [f"--{name}" for name in ("dry-run", "again") if getattr(args, name.replace("-", "_"))]:
        raise UsageError(f"--record makes one cell, whether it is stored or not; leave out {', '.join(given)}")
    old = read_named_record(Path(args.record))
    cell, store = cell_of(old, load(options.plugins)), open_store(args)
    for kind, part in cell.parts.items():
        if code_changed(old.code.get(kind), code_digest(part)) and not args.quiet:
            text = f"the code of {kind} {part.name} has changed since the record was made"
            print(f"note     {text}; `mibench verify` computes everything from scratch", file=sys.stderr)
    plan = Plan([cell], store.root / "records" / old.key[:12], store)
    with Stop() as stop, ProgressDisplay(args.quiet) as display:
        (result,) = repeat({cell: old}, plan, engine, options, display.on_event, stop)
    if args.json:
        print_json(
            {"title": cell.title, "verdict": result.verdict, "reason": result.reason, "record": str(result.path)}
        )
    else:
        print(f"{cell.title}: {read_record(result.path).headline()}")
        print(f"{result.verdict}: {one_line(result.reason)}\nwrote {result.path}")
    return 0 if result.sound else 1
