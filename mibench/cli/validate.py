"""``mibench validate``."""

from __future__ import annotations

import argparse
import functools

from mibench.cli.common import SUITE, add_plugins
from mibench.cli.leaderboard import folders
from mibench.components import Component
from mibench.errors import MibenchError, one_line

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite", nargs="*", help=f"{SUITE}; copies of one suite are compared (default: every suite there)"
    )
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Print every problem of the records; what they say of components is compared with the plugins that can be loaded."""
    from mibench.names import build
    from mibench.plugins import load
    from mibench.results.validate import checked, moved, recoded

    registry = load(tuple(args.plugin))
    versions = {(kind, name): c.version for kind, known in registry.components.items() for name, c in known.items()}

    @functools.cache
    def known(kind: str, label: str) -> Component | None:
        try:
            component = build(registry, kind, label) if label != "utility" else None
            if component:
                component.spec()  # data whose files are not here cannot be compared
            return component
        except MibenchError:
            return None

    problems, suites = 0, {}
    for folder in dict.fromkeys(folder for text in args.suite or [None] for folder in folders(text)):
        found, suites[str(folder)] = checked(folder, versions, known)
        problems += len(found)
        for line in found or [f"{folder}: sound"]:
            print(one_line(line))
        for line in recoded(suites[str(folder)].values(), versions, known):
            print(one_line(f"note: {folder}: {line}"))
    for line in moved(suites):
        print(one_line(line))
        problems += 1
    return 1 if problems else 0
