"""``mibench status``."""

from __future__ import annotations

import argparse
from collections import Counter

from mibench.cli.common import SUITE, add_json, add_plugins, add_store, counted, open_store, print_json

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", help=SUITE)
    parser.add_argument("--cells", action="store_true", help="list every cell, not only those that need attention")
    add_json(parser)
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Count the cells by state; list those that are neither done nor missing, or all with --cells.

    Raises:
        MibenchError: at the end, where a record cannot be read.
    """
    from mibench.leaderboard.text import columns
    from mibench.plugins import load
    from mibench.suite.plan import Plan
    from mibench.suite.suite import load_suite, plan_cells

    located = load_suite(args.suite)
    cells = plan_cells(load(tuple(args.plugin)), located.suite)
    plan = Plan(cells, located.folder / "records", open_store(args, write=False))
    states = plan.states()
    counts = dict(sorted(Counter(state for state, _ in states).items()))
    if args.json:
        listed = [
            {**cell.labels, "seed": cell.seed, "model_kind": cell.model_kind, "checkpoint": cell.checkpoint}
            | {"state": state, "reason": why if state != "done" else None, "path": f"records/{cell.path}"}
            for cell, (state, why) in zip(plan.cells, states, strict=True)
        ]
        print_json({"total": len(states), "states": counts, "cells": listed})
        plan.refuse_broken(states)
        return 0
    rows = [
        (state, cell.title, why if state not in ("done", "broken") else "")
        for cell, (state, why) in zip(plan.cells, states, strict=True)
        if args.cells or state not in ("done", "missing")
    ]
    if rows:
        print(columns(rows))
    print(f"{counted(len(states), 'cell')}: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
    plan.refuse_broken(states)
    return 0
