"""``mibench cache``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mibench.cli.common import SUITE, add_plugins, add_store, open_store
from mibench.errors import MibenchError, UsageError

if TYPE_CHECKING:
    from mibench.suite.contents import Artifact

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite", nargs="*", help=f"suites whose artifacts are needed: {SUITE} (default: every suite there)"
    )
    parser.add_argument("--prune", action="store_true", help="delete what is not needed")
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Print a row per kind, name what is corrupt, half made or under way, and prune where that is asked for."""
    from mibench.plugins import load
    from mibench.suite.contents import contents, in_use, prune
    from mibench.suite.plan import Plan
    from mibench.suite.suite import all_suites, load_suite, plan_cells, suite_name

    suites = [load_suite(text) for text in args.suite or map(str, all_suites())]
    if args.prune and not suites:
        raise UsageError("there is no leaderboards/*/suite.toml here; name the suites whose artifacts are to be kept")
    store = open_store(args, write=args.prune)
    if args.prune and in_use(store):
        raise MibenchError(f"a run is using the store {store.root}; prune it when that has ended")
    registry = load(tuple(args.plugin))
    plans = []
    for one in suites:
        try:
            cells = plan_cells(registry, one.suite)
        except MibenchError as error:  # such as data that are not here
            print(
                f"note: {suite_name(one.folder)}: only what its records need counts as needed: {error}", file=sys.stderr
            )
            cells = []
        plans.append(Plan(cells, one.folder / "records", store))
    found = contents(store, plans)
    spare = [artifact for artifact in found if not artifact.needed]
    _print_contents(found)
    counted = ", ".join(suite_name(one.folder) for one in suites) or "no suite"
    print(f"needed: by the records of {counted}, by runs without a suite, and by cells that are not yet run")
    total = f"{len(spare)} that nothing needs, {_bytes([artifact.size for artifact in spare])}"
    if args.prune:
        prune(spare)
        print(f"deleted {total}")
    elif spare:
        print(f"--prune deletes {total}")
    return 0


def _print_contents(found: list[Artifact]) -> None:
    """A row per kind, then a line for each artifact that is not whole."""
    from mibench.leaderboard.text import columns

    rows = []
    for kind in dict.fromkeys(artifact.kind for artifact in found):
        of = [artifact for artifact in found if artifact.kind == kind]
        spare = [artifact.size for artifact in of if not artifact.needed]
        unneeded = f"{len(spare)}, {_bytes(spare)}" if spare else "none"
        rows.append((kind, str(len(of)), _bytes([artifact.size for artifact in of]), unneeded))
    print(columns(rows, ("kind", "count", "size", "not needed"), right=(1, 2)))
    for artifact in found:
        what = "a training under way" if artifact.kind == "partials" and artifact.state == "whole" else artifact.state
        if what != "whole":
            print(f"{what}: {artifact.kind}/{artifact.path.name}, {_bytes([artifact.size])}")


def _bytes(sizes: list[int]) -> str:
    """A number of bytes for people."""
    size = float(sum(sizes))
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
