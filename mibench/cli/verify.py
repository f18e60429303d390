"""``mibench verify``."""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.cli.common import SUITE, add_json, add_plugins, print_json
from mibench.cli.jobs import add_jobs, engine_of, options_of
from mibench.errors import MibenchError, UsageError, one_line

if TYPE_CHECKING:
    from mibench.jobs.repeat import Comparison
    from mibench.plugins import Registry
    from mibench.results.record import Record
    from mibench.results.store import Store
    from mibench.suite.cells import Cell

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite", nargs="+", metavar="SUITE|RECORD", help=f"{SUITE}; or the file of a record; repeatable"
    )
    parser.add_argument(
        "--sample", type=int, default=3, metavar="K", help="number of cells of a suite, drawn at random (default: 3)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of that draw (default: a new one each time)")
    parser.add_argument("--quiet", action="store_true", help="list only the cells that are not verified")
    add_json(parser)
    add_jobs(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Compute cells from scratch, in a store of their own, and compare them with their records."""
    from mibench.jobs.repeat import repeat
    from mibench.jobs.stop import Stop
    from mibench.plugins import load
    from mibench.results.store import Store
    from mibench.suite.plan import Plan

    if args.sample < 1:
        raise UsageError(f"--sample {args.sample}: give a number of at least 1")
    engine, options = engine_of(args), options_of(args)
    registry, results = load(options.plugins), []
    with tempfile.TemporaryDirectory(prefix="mibench-verify-") as folder:
        store = Store(Path(folder) / "store")
        chosen = [_chosen(text, args, registry, store) for text in dict.fromkeys(args.suite)]
        for number, (old, _) in enumerate(chosen):
            plan = Plan(list(old), Path(folder) / f"records-{number}", store)
            with Stop() as stop:
                results += repeat(old, plan, engine, options, lambda event: None, stop)
    (_print_json if args.json else _print)(results, sum(recorded for _, recorded in chosen), args.quiet)
    return 0 if all(result.sound for result in results) else 1


def _chosen(text: str, args: argparse.Namespace, registry: Registry, store: Store) -> tuple[dict[Cell, Record], int]:
    """The cells of a suite or record to be verified, with their records, and of how many they are a sample.

    Raises:
        MibenchError: where a suite has no valid record, or a record cannot be read or is of other versions.
    """
    from mibench.results.record import read_named_record, read_record
    from mibench.suite.plan import Plan
    from mibench.suite.recorded import cell_of
    from mibench.suite.suite import load_suite, plan_cells

    if text.endswith(".json"):
        record = read_named_record(Path(text))
        return {cell_of(record, registry): record}, 1
    located = load_suite(text)
    plan = Plan(plan_cells(registry, located.suite), located.folder / "records", store)
    states = plan.states()
    plan.refuse_broken(states)
    done = [cell for cell, (state, _) in zip(plan.cells, states, strict=True) if state == "done"]
    if not done:
        raise MibenchError(f"{text} has no record that could be verified; see `mibench status {text}`")
    chosen = set(random.Random(args.seed).sample(range(len(done)), min(args.sample, len(done))))
    return {cell: read_record(plan.path(cell)) for index, cell in enumerate(done) if index in chosen}, len(done)


def _print(results: list[Comparison], recorded: int, quiet: bool) -> None:
    """A line for each cell, or each that is not verified, and the counts."""
    from mibench.leaderboard.text import columns

    rows = [(r.verdict, r.cell.title, one_line(r.reason)) for r in results if not (quiet and r.sound)]
    if rows:
        print(columns(rows))
    sound = sum(result.sound for result in results)
    print(f"{sound} of {len(results)} cells verified, of {recorded} that have records")


def _print_json(results: list[Comparison], recorded: int, quiet: bool) -> None:
    """The counts, and every cell."""
    counts = {"total": len(results), "verified": sum(result.sound for result in results), "records": recorded}
    cells = [{"title": r.cell.title, "verdict": r.verdict, "reason": one_line(r.reason)} for r in results]
    print_json({**counts, "cells": cells})
