"""Entry points → registry. Each plugin is loaded by itself; a broken one is reported and does not affect the others."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args

import pluggy
from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from mibench import hookspecs
from mibench.components import Attack, Component, Dataset
from mibench.defenses import STAGES, Defense
from mibench.errors import UsageError
from mibench.files import sha256
from mibench.kinds import Access
from mibench.measures import Measure, Stage

__all__ = ["KINDS", "Plugin", "Registry", "files_of", "installed", "load", "source_of"]

KINDS: dict[str, type[Component]] = {"dataset": Dataset, "defense": Defense, "measure": Measure, "attack": Attack}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass
class Plugin:
    """One plugin: where it is from, what it offers, and what is wrong with it.

    Attributes:
        file: of a loose plugin, as it was given; "" for a package.
    """

    name: str
    source: str
    file: str = ""
    offers: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def blame(self, what: str, remedy: str) -> None:
        """Note a problem, as one line, and what to do about it."""
        self.problems.append((" ".join(what.split())[:240], remedy))


@dataclass
class Registry:
    """Every component that could be loaded, by kind and name, and every plugin, broken ones too."""

    plugins: list[Plugin] = field(default_factory=list)
    components: dict[str, dict[str, type[Component]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    origin: dict[type[Component], Plugin] = field(default_factory=dict)

    def add(self, kind: str, offered: Any, plugin: Plugin) -> None:
        """Check what one hook returned and register it."""
        if not isinstance(offered, (list, tuple)):
            plugin.blame(f"mibench_{kind}s() returned {type(offered).__name__}", "return a list of classes")
            return
        for cls in offered:
            try:
                problem = next(_problems(kind, cls), None)
            except Exception as error:
                problem = f"{kind} class {cls!r} raises {type(error).__name__}: {error}", "let its checks pass"
            if problem:
                plugin.blame(*problem)
            elif cls.name in self.components[kind]:
                owner = self.origin[self.components[kind][cls.name]].name
                plugin.blame(
                    f"the {kind} name {cls.name!r} is taken by plugin {owner!r}", "rename the class variable `name`"
                )
            else:
                self.components[kind][cls.name] = cls
                self.origin[cls] = plugin
                _SOURCES[cls] = plugin.source
                plugin.offers.append(f"{kind} {cls.name}")

    def broken(self) -> str:
        """The first problem of all plugins, and the command that lists every one; "" where there is none."""
        broken = [plugin for plugin in self.plugins if plugin.problems]
        if not broken:
            return ""
        first, files = broken[0], "".join(f" --plugin {shlex.quote(plugin.file)}" for plugin in broken if plugin.file)
        return f"plugin {first.name}: {first.problems[0][0][:120]} (see `mibench plugins{files}`)"


def _problems(kind: str, cls: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a class that a hook offers, each with its remedy."""
    base = KINDS[kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        yield f"mibench_{kind}s() offered {cls!r}", f"return subclasses of mibench.{base.__name__}"
    title = f"{kind} class {cls.__name__}"
    if typed := [name for name in _class_variables(base) if name in cls.model_fields]:
        yield f"{title} gives the class variable `{typed[0]}` a type", f"write {typed[0]} = … without one"
    if not isinstance(getattr(cls, "name", None), str) or not NAME.fullmatch(cls.name):
        yield f"{title} has no valid `name`", 'set name = "my-method" or the like (lower case, digits, dashes)'
    if not isinstance(cls.version, int) or cls.version < 1:
        yield f"{title} has version {cls.version!r}", "set a class variable version = 1 or larger"
    if not cls.summary():
        yield f"{title} has no docstring", "say in one line what it does"
    if kind == "attack" and not isinstance(getattr(cls, "published", None), str):
        yield f"{title} has no `published`", "set the class variable `published`"
    if kind == "attack" and cls.access not in get_args(Access):
        yield f"{title} has the access {cls.access!r}", f"set `access` to one of {', '.join(get_args(Access))}"
    for old, new in (("loss", "losses"), ("update", "step")) if kind == "defense" else ():
        if hasattr(cls, old):
            yield f"{title} has the method {old}(), which no training calls", f"implement {new}(); see docs/plugins.md"
    if kind in ("defense", "measure") and not _names(cls.adaptive):
        yield (
            f"{title} has the adversaries {cls.adaptive!r}",
            'set adaptive = ("averaged",) or the like, a tuple of names',
        )
    if kind == "measure" and getattr(cls, "stage", None) not in get_args(Stage):
        yield f"{title} has no sound `stage`", f"set `stage` to one of {', '.join(get_args(Stage))}"
    if kind == "measure" and not any(hasattr(Measure, stage) and cls.changes(stage) for stage in STAGES):
        yield f"{title} changes nothing", "implement one of the stages of mibench.Measure, such as vary()"
    if kind == "dataset" and not _complete(getattr(cls, "modality", None)):
        yield f"{title} has no sound `modality`", "set a mibench.Modality such as mibench.IMAGE, with a space"
    if not isinstance(cls.paper, str):
        yield f"{title} has the paper {cls.paper!r}", 'set a class variable such as paper = "arXiv 2305.18355"'
    if cls.shorthand is not None and cls.shorthand not in cls.model_fields:
        yield f"{title}: shorthand {cls.shorthand!r} is no option", "name one of its fields"
    try:
        cls()
    except ValidationError as error:
        first = error.errors()[0]
        why = ": ".join([*map(str, first["loc"][:1]), first["msg"]])
        yield f"{title}: its defaults are refused ({why})", "give every option a valid default"


def _names(value: Any) -> bool:
    """Whether this is a tuple of words; a word by itself would be read letter by letter."""
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _complete(modality: Any) -> bool:
    """Whether this is a modality with all that has no default."""
    from mibench.modality import Modality  # here, as it needs torch, which a board does not

    return isinstance(modality, Modality) and all(hasattr(modality, need) for need in ("name", "space"))


def _register(registry: Registry, plugin: Plugin, get_module: Any) -> None:
    """Import one plugin and call its hooks; every failure becomes a problem of that plugin."""
    registry.plugins.append(plugin)
    remedy = f"fix {plugin.file}" if plugin.file else f"fix or uninstall {plugin.source}"
    try:
        module = get_module()
    except (Exception, SystemExit, GeneratorExit) as error:
        plugin.blame(f"it cannot be imported: {_reason(error)}", remedy)
        return
    manager = pluggy.PluginManager("mibench")
    manager.add_hookspecs(hookspecs)
    hooks = {f"mibench_{kind}s": kind for kind in KINDS}
    marked = [name for name in dir(module) if name.startswith("mibench_")]
    marked = [name for name in marked if hasattr(getattr(module, name), "mibench_impl")]
    for name in marked:
        if name not in hooks:
            plugin.blame(
                f"it implements an unknown hook {name!r}",
                "the hooks are mibench_datasets, _defenses, _measures, _attacks",
            )
            return
    if not marked:
        plugin.blame(
            "it implements no hook",
            "mark one of mibench_datasets, _defenses, _measures, _attacks with @mibench.hookimpl",
        )
    try:
        manager.register(module, plugin.name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        plugin.blame(f"its hooks are refused: {error}", "hooks take no arguments")
        return
    for hook, kind in hooks.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            try:
                offered = implementation.function()
            except (Exception, SystemExit) as error:
                plugin.blame(f"{hook}() raised {type(error).__name__}: {error}", remedy)
                continue
            registry.add(kind, offered, plugin)


def _reason(error: BaseException) -> str:
    """Why a module cannot be imported; of a class variable that mibench does not know, in its own words."""
    found = re.search(r"`(\w+) = |'(\w+)' defined on a base class", str(error))
    if not isinstance(error, PydanticUserError) or not found:
        return f"{type(error).__name__}: {error}"
    if found[2]:
        return f"the option `{found[2]}` needs its type here, too, such as {found[2]}: int"
    known = {name for base in KINDS.values() for name in _class_variables(base)}
    close = difflib.get_close_matches(found[1], known, n=1)
    meant = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(known))};"
    return f"there is no class variable `{found[1]}`; {meant} an option needs a type, such as {found[1]}: int"


def _class_variables(cls: type[Component]) -> list[str]:
    return [name for name in cls.__class_vars__ if not name.startswith("_")]


def _loose(path: str) -> Any:
    """Import a plugin from a file, under a name that no file of another folder has."""
    place = sha256(os.fsencode(os.path.abspath(path)))[:8]
    spec = importlib.util.spec_from_file_location(
        f"mibench_loose_{re.sub(r'[^0-9A-Za-z]', '_', Path(path).stem)}_{place}", path
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def installed() -> tuple[tuple[EntryPoint, str, str], ...]:
    """The entry points of the group ``mibench``, each with its package and version, the bundled ones first; cached."""
    entries = [
        (entry, entry.dist.name if entry.dist else "", entry.dist.version if entry.dist else "")
        for entry in entry_points(group="mibench")
    ]
    return tuple(sorted(entries, key=lambda one: (one[1] != "mibench", one[0].name)))


@cache
def load(files: tuple[str, ...] = ()) -> Registry:
    """Load every plugin: the entry points of the group ``mibench``, bundled ones first, then loose files.

    Raises:
        UsageError: where a loose file does not exist.
    """
    registry = Registry()
    for entry, package, version in installed():
        _register(registry, Plugin(entry.name, f"{package} {version}" if package else entry.value), entry.load)
    for file in {os.path.abspath(file): file for file in files}.values():
        if not os.path.isfile(file) or Path(file).suffix != ".py":
            raise UsageError(f"there is no plugin file {file}; give a file that ends with .py")
        try:
            digest = sha256(Path(file).read_bytes())[:12]
        except OSError as error:
            raise UsageError(f"the plugin file {file} cannot be read: {error.strerror}") from None
        plugin = Plugin(Path(file).stem, f"{Path(file).name} sha256:{digest}", file)
        _register(registry, plugin, partial(_loose, file))
    return registry


def files_of(plugins: tuple[str | Path, ...]) -> tuple[str, ...]:
    """Loose files as ``load`` takes them.

    Raises:
        UsageError: where one path is given instead of a tuple.
    """
    if isinstance(plugins, (str, Path)):
        raise UsageError(f"plugins {str(plugins)!r}: give a tuple of files, such as ({str(plugins)!r},)")
    return tuple(str(Path(file).absolute()) for file in plugins)


def source_of(component: Component) -> str:
    """Where a registered component is from, such as "mibench-template 0.1.0" or "mine.py sha256:0123456789ab".

    Returns:
        The source; with " + " and those of wrapped components where they differ; "" for a class that was never registered.
    """
    return " + ".join(dict.fromkeys(_SOURCES[type(part)] for part in component.parts() if type(part) in _SOURCES))


_SOURCES: dict[type[Component], str] = {}
"""The source of every class that was registered."""
