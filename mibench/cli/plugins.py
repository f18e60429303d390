"""``mibench plugins``."""

from __future__ import annotations

import argparse

from mibench.cli.common import add_plugins

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """One row per plugin: what it offers; for a broken one what, why and what to do."""
    from mibench.plugins import load

    registry = load(tuple(args.plugin))
    for plugin in registry.plugins:
        print(f"{plugin.name} ({plugin.source}): {', '.join(plugin.offers) or 'offers nothing'}")
        for what, remedy in plugin.problems:
            print(f"  BROKEN  {what}; {remedy}")
    return 1 if any(plugin.problems for plugin in registry.plugins) else 0
