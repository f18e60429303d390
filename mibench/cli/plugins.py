"""``mibench plugins``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mibench.cli.common import add_json, add_plugins, print_json

if TYPE_CHECKING:
    from mibench.plugins import Plugin

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    add_json(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """One row per plugin: what it offers; for a broken one what, why and what to do."""
    from mibench.plugins import load

    registry = load(tuple(args.plugin))
    if args.json:
        print_json({"plugins": [_facts(plugin) for plugin in registry.plugins]})
    else:
        _print(registry.plugins)
    return 1 if any(plugin.problems for plugin in registry.plugins) else 0


def _print(plugins: list[Plugin]) -> None:
    for plugin in plugins:
        print(f"{plugin.name} ({plugin.source}): {', '.join(plugin.offers) or 'offers nothing'}")
        for what, remedy in plugin.problems:
            print(f"  BROKEN  {what}; {remedy}")


def _facts(plugin: Plugin) -> dict[str, Any]:
    problems = [{"what": what, "remedy": remedy} for what, remedy in plugin.problems]
    return {"name": plugin.name, "source": plugin.source, "offers": plugin.offers, "problems": problems}
