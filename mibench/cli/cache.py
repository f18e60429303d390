"""``mibench cache``."""

from __future__ import annotations

import argparse
import sys

from mibench.cli.common import SUITE, add_plugins, add_store, open_store
from mibench.errors import MibenchError, UsageError

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
            print(f"note: of {suite_name(one.folder)} only what records need is counted: {error}", file=sys.stderr)
            cells = []
        plans.append(Plan(cells, one.folder / "records", store))
    found = contents(store, plans)
    spare = [artifact for artifact in found if not artifact.needed]
    print(f"{'kind':10}{'count':>8}{'size':>12}   not needed")
    for kind in dict.fromkeys(artifact.kind for artifact in found):
        sizes, idle = ([a.size for a in some if a.kind == kind] for some in (found, spare))
        print(f"{kind:10}{len(sizes):>8}{_bytes(sizes):>12}   " + (f"{len(idle)}, {_bytes(idle)}" if idle else "none"))
    for artifact in found:
        what = "a training under way" if artifact.kind == "partials" and artifact.state == "whole" else artifact.state
        if what != "whole":
            print(f"{what}: {artifact.kind}/{artifact.path.name}, {_bytes([artifact.size])}")
    counted = ", ".join(suite_name(one.folder) for one in suites) or "no suite"
    print(f"needed: by the records of {counted} and of runs without a suite, and by cells that are still to be run")
    total = f"{len(spare)} that nothing needs, {_bytes([artifact.size for artifact in spare])}"
    if args.prune:
        prune(spare)
        print(f"deleted {total}")
    elif spare:
        print(f"--prune deletes {total}")
    return 0


def _bytes(sizes: list[int]) -> str:
    """A number of bytes for people."""
    size = float(sum(sizes))
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
