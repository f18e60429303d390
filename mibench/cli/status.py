"""``mibench status``."""

from __future__ import annotations

import argparse
from collections import Counter

from mibench.cli.common import SUITE, add_plugins, add_store, open_store

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", help=SUITE)
    parser.add_argument("--cells", action="store_true", help="list every cell, not only those that need attention")
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Count the cells by state; list those that are neither done nor missing, or all with --cells."""
    from mibench.leaderboard.text import columns
    from mibench.plugins import load
    from mibench.suite.plan import Plan
    from mibench.suite.suite import load_suite, plan_cells

    located = load_suite(args.suite)
    cells = plan_cells(load(tuple(args.plugin)), located.suite)
    plan = Plan(cells, located.folder / "records", open_store(args, write=False))
    states = plan.states()
    rows = [
        (state, cell.title, why if why and state != "done" else "")
        for cell, (state, why) in zip(plan.cells, states, strict=True)
        if args.cells or state not in ("done", "missing")
    ]
    if rows:
        print(columns(rows))
    counts = Counter(state for state, _ in states)
    print(f"{len(states)} cells: " + ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
    return 0
