"""``mibench samples``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mibench.cli.common import SUITE, add_plugins, add_store, open_store

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite",
        nargs="?",
        help=f"{SUITE} (default: all models that ran without a suite)",
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="draw a grid of samples for each model instead, and write a wav for sounds: "
        "<dataset>/<defense>/samples-s<seed>.png, .wav",
    )
    parser.add_argument("--out", default="docs", metavar="DIR", help="folder for the files (default: docs)")
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """One picture per dataset (members, held-out data, samples of each defense at the first seed), or each model's own."""
    from mibench.leaderboard.pictures import draw, draw_each
    from mibench.plugins import load

    store = open_store(args, write=False)
    found = _found(load(tuple(args.plugin)), args.suite, store)
    for path in (draw_each if args.each else draw)(found, store, Path(args.out)):
        print(f"wrote {path}")
    return 0


def _found(registry: Any, suite: str | None, store: Any) -> Any:
    """The records of samples, each with its dataset."""
    from mibench.names import build
    from mibench.results.record import read_record
    from mibench.suite.plan import Plan
    from mibench.suite.suite import load_suite, plan_cells

    if suite is None:
        records = (read_record(path) for path in sorted((store.root / "records").rglob("*.json")))
        return [(build(registry, "dataset", r.labels["dataset"]), r) for r in records if r.utility]
    located = load_suite(suite)
    plan = Plan(plan_cells(registry, located.suite), located.folder / "records", store)
    cells = [cell for cell in plan.cells if cell.attack is None and plan.path(cell).exists()]
    return [(cell.dataset, read_record(plan.path(cell))) for cell in cells]
