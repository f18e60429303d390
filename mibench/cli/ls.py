"""``mibench ls``."""

from __future__ import annotations

import argparse
import textwrap

from mibench.cli.common import add_plugins

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("kind", nargs="?", choices=["datasets", "defenses", "attacks"], help="list only these")
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """List components with summary, source and options."""
    from mibench.leaderboard.text import columns
    from mibench.plugins import KINDS, load

    registry = load(tuple(args.plugin))
    for kind in KINDS:
        if args.kind not in (None, f"{kind}s"):
            continue
        print(f"{kind}s")
        for name, cls in registry.components[kind].items():
            short = f" ({name}N sets {cls.shorthand})" if cls.shorthand else ""
            paper = f" [{cls.paper}]" if cls.paper else ""
            print(f"  {name}{short}: {cls.summary()}{paper} · version {cls.version}, {registry.origin[cls].source}")
            options = [(f"{name}={field.default}", field.description or "") for name, field in cls.model_fields.items()]
            if options:
                print(textwrap.indent(columns(options), "      "))
    broken = sum(bool(plugin.problems) for plugin in registry.plugins)
    if broken:
        print(f"{broken} broken plugin(s): see `mibench plugins`")
    return 0
