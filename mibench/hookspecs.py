"""The hooks that a plugin implements, each returning the classes that it offers."""

import pluggy

__all__ = ["hookimpl", "mibench_attacks", "mibench_datasets", "mibench_defenses", "mibench_measures"]

hookspec = pluggy.HookspecMarker("mibench")
hookimpl = pluggy.HookimplMarker("mibench")


@hookspec
def mibench_datasets() -> list[type]:
    """The datasets of this plugin: a list of subclasses of ``mibench.Dataset``."""
    raise NotImplementedError


@hookspec
def mibench_defenses() -> list[type]:
    """The defenses of this plugin: a list of subclasses of ``mibench.Defense``."""
    raise NotImplementedError


@hookspec
def mibench_measures() -> list[type]:
    """The measures of this plugin: a list of subclasses of ``mibench.Measure``."""
    raise NotImplementedError


@hookspec
def mibench_attacks() -> list[type]:
    """The attacks of this plugin: a list of subclasses of ``mibench.Attack``."""
    raise NotImplementedError
