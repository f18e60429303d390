"""``mibench upgrade``."""

from __future__ import annotations

import argparse

from mibench.cli.common import SUITE
from mibench.cli.leaderboard import folders
from mibench.errors import one_line

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="*", help=f"{SUITE}; repeatable (default: every suite there)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a record is not of the present metrics"
    )


def main(args: argparse.Namespace) -> int:
    """Upgrade the records of suites, or only count; 1 where a record is, or would be, left outdated."""
    from mibench.results.upgrade import upgrade_folder

    wrong = False
    for folder in dict.fromkeys(folder for suite in args.suite or [None] for folder in folders(suite)):
        outcome = upgrade_folder(folder, write=not args.check)
        left = sum(map(len, outcome.left.values()))
        upgraded = "can be upgraded" if args.check else "upgraded"
        print(f"{folder}: {outcome.upgraded} {upgraded}, {outcome.current} current, {left} cannot be upgraded")
        for reason, paths in outcome.left.items():
            more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
            print(one_line(f"{paths[0]}{more} {reason}"))
        wrong |= left > 0 or (args.check and outcome.upgraded > 0)
    return int(wrong)
