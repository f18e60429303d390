"""Names → components: ``hold3``, ``pia:times=[0.1,0.2]``, ``secmi:steps=10+filter``, ``vp+dropout:p=0.3+augment``."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from mibench.components import Attack, Component
from mibench.defenses import Defense
from mibench.errors import UsageError
from mibench.measures import Measure, measured
from mibench.plugins import Registry

__all__ = ["build", "did_you_mean", "options", "split_list", "split_plus", "validated"]

Model = TypeVar("Model", bound=BaseModel)

LONGEST_LIST = 180
"""Characters; a longer list of names would be cut."""

SAID = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be finite",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "too_short": "must have {min_length} or more entries",
    "missing": "is missing",
}
"""What is said of a value in the place of pydantic's words, by the type of its error."""

BEHIND = {"defense": "measure", "attack": "wrapper"}
"""What can stand behind a +, by the kind of what stands before it."""


def did_you_mean(wrong: str, known: Iterable[str], broken: str = "") -> str:
    """Say "; did you mean 'x'?" where a name begins so or is close, else what is broken, else all names if a line holds them.

    Args:
        broken: ``Registry.broken()``, where the name may be that of a component which could not be loaded.
    """
    names = sorted(known)
    longer = [name for name in names if len(wrong) > 1 and name.startswith(wrong.lower())]
    close = sorted(longer, key=len) or difflib.get_close_matches(wrong.lower(), names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    if broken:
        return f"; {broken}"
    listed = ", ".join(names) or "none"
    return f"; known: {listed}" if len(listed) <= LONGEST_LIST else "; `mibench ls` lists all names"


def split_list(text: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def split_plus(text: str) -> list[str]:
    """Split at each + that a name follows."""
    return [part.strip() for part in re.split(r"\+(?=\s*[A-Za-z])", text.strip())]


def options(text: str, where: str) -> dict[str, Any]:
    """``a=1,b=[2,3]`` → {"a": "1", "b": [2, 3]}.

    Raises:
        UsageError: where a part is not ``option=value``.
    """
    values: dict[str, Any] = {}
    for part in split_list(text):
        key, equals, value = (x.strip() for x in part.partition("="))
        if not equals or not key or not value:
            raise UsageError(f"{where}: {part!r} is not of the form option=value")
        if key in values:
            raise UsageError(f"{where}: option {key!r} is given twice")
        try:
            values[key] = json.loads(value) if value.startswith("[") else value
        except json.JSONDecodeError:
            raise UsageError(f"{where}: {value!r} is not a list such as [0.1,0.2]") from None
    return values


def validated(cls: type[Model], values: Mapping[str, Any], where: str, named: Mapping[str, str] | None = None) -> Model:
    """Build a pydantic model, the first mistake as one clear line.

    Args:
        cls, values: the model and its fields.
        where: what the line begins with.
        named: what the user calls a field, such as "--samples", where that is another name; it then stands at the beginning.

    Raises:
        UsageError: naming the option, what is wrong, and the nearest known one.
    """
    try:
        return cls(**values)
    except ValidationError as error:
        errors = error.errors()
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        option = ".".join(map(str, takewhile(lambda part: isinstance(part, str), first["loc"])))  # no places in lists
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(option, cls.model_fields) if len(first["loc"]) == 1 else ""
            raise UsageError(f"{where}: unknown option {option!r}{hint}") from None
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] in SAID:
            message = SAID[first["type"]].format(**first.get("ctx", {}))
        got = f", got {str(first['input'])[:60]!r}" if option and first["type"] != "missing" else ""
        name = (named or {}).get(option) or (f"{where}: {option}" if option else where)
        raise UsageError(f"{name}: {message}{got}") from None


def build(registry: Registry, kind: str, text: str) -> Component:
    """The component that a text names.

    Args:
        registry: the known components.
        kind: "dataset", "defense", "measure" or "attack".
        text: ``name``, or ``name`` and digits for its shorthand option, then ``:option=value,…``. After an attack any number
            of ``+wrapper:option=value,…`` (see ``Attack.wraps``), after a defense of ``+measure:option=value,…``.
            The value ``none`` stands for None.

    Raises:
        UsageError: for an unknown name, an unknown option or a value out of range.
    """
    first, *others = split_plus(text)
    where = f"{kind} {text.strip()!r}"
    if others and not first:
        raise UsageError(f"{where}: a + without {'an attack' if kind == 'attack' else 'a defense'} before it")
    if kind in BEHIND and any(part.endswith("+") for part in (first, *others)):
        raise UsageError(f"{where}: a + without a {BEHIND[kind]} behind it")
    component = _single(registry, kind, first)
    if isinstance(component, Defense):
        return measured(component, [_measure(registry, other, where) for other in others])
    if others and kind == "measure":
        raise UsageError(f"{where}: measures come after a defense: vp+{text.strip()}")
    if others and kind != "attack":
        raise UsageError(f"{where}: only a defense and an attack can be followed by +")
    for other in others:
        component = _wrapped(registry, component, other, where)
    return component


def _measure(registry: Registry, text: str, where: str) -> Measure:
    """A measure, as it stands after a defense."""
    head = text.partition(":")[0]
    if head not in registry.components["measure"]:
        try:
            _single(registry, "defense", text)
        except UsageError:
            measures = did_you_mean(head, registry.components["measure"])
            raise UsageError(f"{where}: unknown measure {head!r}{measures}") from None
        raise UsageError(f"{where}: {text!r} is a defense by itself; after + comes a measure, such as dropout")
    measure = _single(registry, "measure", text)
    assert isinstance(measure, Measure)
    return measure


def _wrapped(registry: Registry, base: Component, text: str, where: str) -> Component:
    """A wrapper around an attack."""
    known = registry.components["attack"]
    wrappers = {name: cls.wraps for name, cls in known.items() if issubclass(cls, Attack) and cls.wraps}
    head, _, tail = text.partition(":")
    if head not in wrappers:
        what = "is no wrapper" if head in known else "is unknown"
        raise UsageError(f"{where}: wrapper {head!r} {what}{did_you_mean(head, wrappers)}")
    if not isinstance(base, wrappers[head]):
        fit = sorted(name for name, other in known.items() if issubclass(other, wrappers[head]))
        raise UsageError(f"{where}: {head!r} cannot wrap {base.name!r}; it wraps {', '.join(fit)}")
    given = options(tail, where)
    if "base" in given:
        raise UsageError(f"{where}: the base of {head!r} is what stands before the +")
    return validated(known[head], {**_with_none(known[head], given), "base": base}, where)


def _single(registry: Registry, kind: str, text: str) -> Component:
    """A component without wrappers."""
    known = registry.components[kind]
    head, _, tail = text.partition(":")
    where = f"{kind} {text!r}"
    given = options(tail, where)
    cls = known.get(head)
    if cls is None and (match := re.fullmatch(r"(.+?)(-?\d+)", head)):
        short = known.get(match[1])
        if short is not None and short.shorthand:
            cls = short
            if short.shorthand in given:
                raise UsageError(f"{where}: {short.shorthand!r} is given twice")
            given[short.shorthand] = match[2]
    if cls is None:
        if kind == "defense" and head in registry.components["measure"]:
            raise UsageError(
                f"{head!r} is a measure, which trains no model by itself; write it after a defense: vp+{text}"
            )
        if kind == "attack" and head == "utility":
            raise UsageError("'utility' is no attack: samples are measured beside every attack; name one, such as loss")
        if re.search(r"[,\s]", head):
            raise UsageError(f"{where}: a name has no comma and no space; give one {kind} here")
        examples = [f"{c.name}{c().model_dump()[c.shorthand]}" for c in known.values() if c.shorthand]
        raise UsageError(f"unknown {kind} {head!r}{did_you_mean(head, [*known, *examples], registry.broken())}")
    return validated(cls, _with_none(cls, given), where)


def _with_none(cls: type[Component], given: dict[str, Any]) -> dict[str, Any]:
    """The options, with None for the word "none" where an option's type allows it."""
    fields = cls.model_fields
    empty = {key for key in given if key in fields and type(None) in get_args(fields[key].annotation)}
    return {key: None if key in empty and str(value).lower() == "none" else value for key, value in given.items()}
