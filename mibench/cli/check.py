"""``mibench check``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.cli.common import add_plugins
from mibench.errors import UsageError

if TYPE_CHECKING:
    from mibench.components import Component
    from mibench.plugins import Plugin, Registry

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "what", metavar="PACKAGE|FILE", help="an installed package with plugins, or a plugin's .py file"
    )
    parser.add_argument(
        "--component",
        action="append",
        default=[],
        metavar="NAME:OPTION=VALUE,…",
        help="check a component with these options, such as a dataset with the path of its files; repeatable",
    )
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """One line for each component and check; 1 where something is wrong."""
    from mibench.conformance import check_plugin
    from mibench.plugins import load

    files = (*args.plugin, *([args.what] if args.what.endswith(".py") else []))
    registry = load(files)
    plugins = _plugins(args.what, registry)
    chosen = [_component(text, plugins, registry) for text in args.component]
    faults = checks = 0
    for plugin in plugins:
        for finding in check_plugin(plugin, registry, chosen):
            print(finding, flush=True)
            checks, faults = checks + 1, faults + (not finding.sound)
    if faults:
        print(
            f"{args.what}: not sound, {faults} of {checks} checks failed; a board would show failed cells or wrong figures"
        )
    else:
        print(f"{args.what}: sound; a board can show it")
    return 1 if faults else 0


def _plugins(what: str, registry: Registry) -> list[Plugin]:
    """The plugins of a package, or that of a file."""
    from mibench.names import did_you_mean

    if what.endswith(".py"):
        return [plugin for plugin in registry.plugins if plugin.file and os.path.samefile(plugin.file, what)][-1:]
    names = {plugin.name: plugin.source.rpartition(" ")[0] for plugin in registry.plugins}
    found = [plugin for plugin in registry.plugins if what in (plugin.name, names[plugin.name])]
    if not found and Path(what).is_dir():
        raise UsageError(f"{what} is a folder; install its package with pip and give its name, or give a .py file")
    if not found:
        hint = did_you_mean(what, {*names, *filter(None, names.values())})
        raise UsageError(
            f"no plugin, and no installed package with plugins, is named {what!r}, and a file ends with .py{hint}"
        )
    return found


def _component(text: str, plugins: list[Plugin], registry: Registry) -> Component:
    """A component of one of the plugins, by its name and options."""
    from mibench.names import build, did_you_mean

    name = text.partition(":")[0].strip()
    for kind, known in registry.components.items():
        if name in known and registry.origin[known[name]] in plugins:
            return build(registry, kind, text)
    names = [cls.name for cls, plugin in registry.origin.items() if plugin in plugins]
    raise UsageError(f"--component {text}: what is checked has no component {name!r}{did_you_mean(name, names)}")
