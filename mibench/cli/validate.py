"""``mibench validate``."""

from __future__ import annotations

import argparse

from mibench.cli.common import SUITE, add_plugins
from mibench.cli.leaderboard import folders
from mibench.errors import one_line

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite", nargs="*", help=f"{SUITE}; copies of one suite are compared (default: every suite there)"
    )
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Print every problem of the records, compared with the components that can be loaded; 1 where there is one."""
    from mibench.plugins import load
    from mibench.results.known import Known
    from mibench.results.validate import moved, validate

    known = Known.of(load(tuple(args.plugin)))
    suites, sound = {}, True
    for folder in dict.fromkeys(folder for text in args.suite or [None] for folder in folders(text)):
        problems, records = validate(folder, known)
        suites[str(folder)], sound = records, sound and not problems
        for line in problems or [f"{folder}: sound"]:
            print(one_line(line))
        if changed := known.changed_code(records.values()):
            print(
                f"note: {folder}: records were made by other code of {', '.join(changed)} at the same version; run `mibench "
                f"verify {folder}`, and raise the version of what differs"
            )
    differing = moved(suites)
    for line in differing:
        print(one_line(line))
    return 0 if sound and not differing else 1
