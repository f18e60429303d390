"""``mibench samples``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mibench.cli.common import add_plugins, add_store, open_store

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", help="a suite.toml, its folder, or its name under leaderboards/")
    parser.add_argument(
        "--out", default="docs", metavar="DIR", help="where samples-<dataset>.png are written (default: docs)"
    )
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """One picture per dataset: members, held-out data, and the samples of each defense (first seed)."""
    from mibench.harness.plan import Plan
    from mibench.harness.suite import load_suite, plan_cells
    from mibench.leaderboard.pictures import draw
    from mibench.plugins import load

    located = load_suite(args.suite)
    plan = Plan(plan_cells(load(tuple(args.plugin)), located.suite), located.folder / "records", open_store(args))
    for path in draw(plan, Path(args.out)):
        print(f"wrote {path}")
    return 0
