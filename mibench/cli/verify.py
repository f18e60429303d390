"""``mibench verify``."""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from mibench.cli.common import SUITE, add_plugins
from mibench.cli.jobs import add_jobs, engine_of, options_of
from mibench.errors import MibenchError, UsageError, one_line

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", help=SUITE)
    parser.add_argument(
        "--sample", type=int, default=3, metavar="K", help="number of cells, drawn at random (default: 3)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of that draw (default: a new one each time)")
    add_jobs(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Compute cells from scratch, in a store of their own, and compare them with their records."""
    from mibench.jobs.scheduler import Scheduler
    from mibench.jobs.stop import Stop
    from mibench.leaderboard.text import columns
    from mibench.plugins import load
    from mibench.results.compare import compare
    from mibench.results.record import read_record
    from mibench.results.store import Store
    from mibench.suite.plan import Plan
    from mibench.suite.suite import load_suite, plan_cells

    if args.sample < 1:
        raise UsageError(f"--sample {args.sample}: give a number of at least 1")
    located, engine, options = load_suite(args.suite), engine_of(args), options_of(args)
    with tempfile.TemporaryDirectory(prefix="mibench-verify-") as folder:
        store = Store(Path(folder) / "store")
        old = Plan(plan_cells(load(options.plugins), located.suite), located.folder / "records", store)
        done = [cell for cell, (state, _) in zip(old.cells, old.states(), strict=True) if state == "done"]
        if not done:
            raise MibenchError(f"{args.suite} has no record that could be verified; see `mibench status {args.suite}`")
        chosen = set(random.Random(args.seed).sample(range(len(done)), min(args.sample, len(done))))
        cells = [cell for index, cell in enumerate(done) if index in chosen]
        new = Plan(cells, Path(folder) / "records", store)
        with Stop() as stop:
            failures = Scheduler(new, cells, engine, options, lambda event: None, stop).run()
        rows = []
        for cell in cells:
            if cell in failures:
                verdict, reason = "failed", failures[cell]
            else:
                verdict, reason = compare(read_record(old.path(cell)), read_record(new.path(cell)))
            rows.append((verdict, cell.title, one_line(reason)))
        print(columns(rows))
        sound = sum(verdict in ("same", "agrees") for verdict, _, _ in rows)
        print(f"{sound} of {len(cells)} cells verified, of {len(done)} that have records")
    return 0 if sound == len(cells) else 1
