"""The names of datasets, defenses, measures and attacks, read from the source of the plugins without running it.

It takes a fifth of a second, where the import of all plugins takes seconds. What it misses, such as a name that is computed, is
not completed; ``mibench ls`` knows every name.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

__all__ = ["component_names"]

BASES = {
    "Dataset": "dataset",
    "FileDataset": "dataset",
    "Defense": "defense",
    "Measure": "measure",
    "Attack": "attack",
}
"""The kinds of the public base classes of mibench."""


class Found(NamedTuple):
    """A class in the source of a plugin."""

    package: str
    bases: list[str]
    name: str | None


def component_names(files: list[str]) -> dict[str, list[str]]:
    """The names by kind, sorted.

    Args:
        files: loose plugins, in addition to those that are installed.
    """
    packages = {entry.module.partition(".")[0] for entry in entry_points(group="mibench")}
    sources = {(package, path) for package in packages for path in _files(package)}
    sources |= {(file, Path(file).expanduser()) for file in files}
    classes: dict[str, list[Found]] = {}
    for package, path in sorted(sources):
        with suppress(OSError, SyntaxError, ValueError):
            for node in ast.parse(path.read_bytes()).body:
                if isinstance(node, ast.ClassDef):
                    found = Found(package, [_last(base) for base in node.bases], _name(node))
                    classes.setdefault(node.name, []).append(found)
    names: dict[str, set[str]] = {kind: set() for kind in BASES.values()}
    for found in (found for several in classes.values() for found in several):
        if found.name and (kind := _kind(found, classes, set())):
            names[kind].add(found.name)
    return {kind: sorted(found) for kind, found in names.items()}


def _files(package: str) -> Iterator[Path]:
    """The source files of a package or module of the top level, which need not be imported to be found."""
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or []:
            yield from Path(folder).rglob("*.py")
        if spec and spec.origin:
            yield Path(spec.origin)


def _last(base: ast.expr) -> str:
    """The name of a base class without its module."""
    return ast.unparse(base).partition("[")[0].rpartition(".")[2]


def _name(node: ast.ClassDef) -> str | None:
    """What the class variable ``name`` is set to."""
    for line in node.body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        value = getattr(line, "value", None)
        if "name" in [getattr(target, "id", None) for target in targets] and isinstance(value, ast.Constant):
            return str(value.value)
    return None


def _kind(found: Found, classes: dict[str, list[Found]], seen: set[str]) -> str | None:
    """The kind of a class, from its bases and theirs; a class of the same package goes before others of that name."""
    for base in found.bases:
        if base in BASES:
            return BASES[base]
        parents = sorted(classes.get(base, []), key=lambda parent: parent.package != found.package)
        if parents and base not in seen and (kind := _kind(parents[0], classes, seen | {base})):
            return kind
    return None
