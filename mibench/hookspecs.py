"""The hooks that a plugin implements, each returning the classes that it offers."""

import pluggy

__all__ = ["hookimpl", "mibench_attacks", "mibench_datasets", "mibench_defenses"]

hookspec = pluggy.HookspecMarker("mibench")
hookimpl = pluggy.HookimplMarker("mibench")


@hookspec
def mibench_datasets():
    """The datasets of this plugin: a list of subclasses of ``mibench.Dataset``."""


@hookspec
def mibench_defenses():
    """The defenses of this plugin: a list of subclasses of ``mibench.Defense``."""


@hookspec
def mibench_attacks():
    """The attacks of this plugin: a list of subclasses of ``mibench.Attack``."""
