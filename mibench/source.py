"""Digests of the source of components: which code made a record."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from mibench.components import Component
from mibench.files import sha256

__all__ = ["code_changed", "code_digest"]

PREFIX = "class:"
"""What these digests begin with. Older records have digests of whole files, without it."""


def code_digest(component: Component) -> str:
    """The digest of the code of a component.

    These count: the class, its base classes, what it wraps, and the functions, classes and constants of their own package
    that they use by name, directly or through one another. A module of the package that is imported as a whole counts
    wholly. Comments, docstrings, layout and a ``title`` do not count; neither do mibench itself and other packages.

    Returns:
        "class:" and 64 hexadecimal digits; "" where there is no source.
    """
    try:
        texts = set().union(*(_texts(type(part), _stamp(type(part))) for part in component.parts()))
    except (OSError, TypeError, SyntaxError, KeyError):
        return ""
    return PREFIX + sha256("\n".join(sorted(texts)).encode())


def code_changed(old: str | None, new: str | None) -> bool:
    """Whether two digests are of different code; False where one is missing or of a whole file."""
    return old != new and all(digest is not None and digest.startswith(PREFIX) for digest in (old, new))


@cache
def _texts(cls: type[Component], stamp: int) -> frozenset[str]:
    """What a class is made from, definition by definition; cached until its file changes."""
    found: dict[tuple[str, str], str] = {}
    for base in cls.__mro__:
        if issubclass(base, Component) and _package(base.__module__) != "mibench":
            name = base.__qualname__.partition(".")[0]
            if name not in _read(sys.modules[base.__module__]).definitions:
                raise KeyError(name)  # made by a call of type()
            _collect(base.__module__, name, found)
    return frozenset(found.values())


def _collect(module: str, name: str, found: dict[tuple[str, str], str]) -> None:
    """Add the definition of a name in a module, and all that it uses from its package."""
    if (module, name) in found:
        return
    source = _read(sys.modules[module])
    if name in source.imports:
        origin, original = source.imports[name]
        for used in [original] if original else list(_read(sys.modules[origin]).definitions):
            _collect(origin, used, found)
    nodes = source.definitions.get(name, [])
    if nodes:
        found[module, name] = repr([_content(node) for node in nodes])
    for used in {inner.id for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Name)}:
        _collect(module, used, found)


@dataclass
class _Module:
    """What a module defines at its top level, and what it imports from its own package.

    Attributes:
        definitions: the statements that define a name.
        imports: name → module and name there; "" for the whole module.
    """

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


def _stamp(code: ModuleType | type) -> int:
    """When its file was changed, in nanoseconds."""
    return Path(inspect.getfile(code)).stat().st_mtime_ns


def _read(module: ModuleType) -> _Module:
    return _parsed(module, _stamp(module))


@cache
def _parsed(module: ModuleType, stamp: int) -> _Module:
    read, package = _Module(), _package(module.__name__)
    for statement in ast.parse(Path(inspect.getfile(module)).read_bytes()).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            read.imports |= dict(_imported(statement, module.__package__ or "", package))
        else:
            for defined in _names(statement):
                read.definitions.setdefault(defined, []).append(statement)
    return read


def _names(statement: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    if isinstance(statement, definitions):
        return {statement.name}
    nodes = list(ast.walk(statement))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.name for node in nodes if isinstance(node, definitions)}


def _imported(
    statement: ast.Import | ast.ImportFrom, parent: str, package: str
) -> Iterator[tuple[str, tuple[str, str]]]:
    """What an import takes from the package of its module: the name here, module and name there."""
    for alias in statement.names:
        name, original = alias.asname or alias.name.partition(".")[0], ""
        module = alias.name
        if isinstance(statement, ast.ImportFrom):
            module = resolve_name("." * statement.level + (statement.module or ""), parent)
            if f"{module}.{alias.name}" in sys.modules:
                module = f"{module}.{alias.name}"
            else:
                original = alias.name
        if _package(module) == package and module in sys.modules:
            yield name, (module, original)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _content(node: Any) -> Any:
    """A syntax tree as nested lists, the same in every version of Python; without docstrings and titles of components."""
    if isinstance(node, list):
        return [_content(one) for one in node if not _is_text(one)]
    if isinstance(node, ast.ClassDef):
        node = ast.ClassDef(**dict(ast.iter_fields(node)) | {"body": [one for one in node.body if not _is_title(one)]})
    if not isinstance(node, ast.AST):
        return node
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *((name, _content(value)) for name, value in fields)]


def _is_text(node: Any) -> bool:
    """Whether a statement is nothing but a string."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_title(node: ast.stmt) -> bool:
    """Whether a statement of a class is ``title = "some text"``, see ``Component.title``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
        return False
    return [isinstance(name, ast.Name) and name.id == "title" for name in node.targets] == [True]
