"""``mibench validate``."""

from __future__ import annotations

import argparse

from mibench.cli.common import add_plugins
from mibench.cli.leaderboard import folders

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="?", help="a suite (default: every one under leaderboards/)")
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Print every problem of the records; versions are compared with those of the plugins that can be loaded."""
    from mibench.leaderboard.validate import validate
    from mibench.plugins import load

    components = load(tuple(args.plugin)).components
    versions = {(kind, name): cls.version for kind, known in components.items() for name, cls in known.items()}
    problems = 0
    for folder in folders(args.suite):
        found = validate(folder, versions)
        problems += len(found)
        print("\n".join(found) if found else f"{folder}: sound")
    return 1 if problems else 0
