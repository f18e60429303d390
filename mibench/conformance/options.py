"""Whether the options of a component are described, validated, and come back from its label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError

from mibench.components import Component
from mibench.conformance.fault import Fault
from mibench.defenses import Defense
from mibench.errors import UsageError
from mibench.measures import Measure
from mibench.names import build
from mibench.plugins import KINDS, Registry

__all__ = ["check_options"]


def check_options(component: Component, registry: Registry) -> str:
    """Every option is described and can be written as text; the label and the spec name the component completely."""
    cls = type(component)
    for option, field in cls.model_fields.items():
        if not field.description:
            raise Fault(f"option {option!r} has no description; give its Field one")
    if cls.model_config.get("extra") != "forbid" or not cls.model_config.get("frozen"):
        raise Fault("it accepts unknown options or can be changed; leave model_config as it is in mibench.Component")
    kind = next(kind for kind, base in KINDS.items() if isinstance(component, base))
    for one in (component, *_variants(component)):
        _check_label(kind, one, registry)
    if isinstance(component, (Defense, Measure)):
        _check_adversaries(component, registry)
    if json.loads(json.dumps(component.spec())) != component.spec():
        raise Fault("its spec() is not the same after a round trip through JSON; use numbers, texts, lists and dicts")
    return ""


def _check_adversaries(component: Defense | Measure, registry: Registry) -> None:
    """An attack that does not exist is met by none, and its defense would carry a † for ever."""
    for name in component.adaptive:
        try:
            build(registry, "attack", name)
        except UsageError as error:
            raise Fault(
                f"its `adaptive` names no attack that is known here ({error}); name one of `mibench ls`"
            ) from None


def _check_label(kind: str, component: Component, registry: Registry) -> None:
    """The label must build the component again, or records of it could not be made again."""
    label = component.label
    try:
        same = build(registry, kind, label) == component
    except UsageError as error:
        raise Fault(f"its label {label!r} cannot be read again ({error}); use options that a text can write") from None
    if not same:
        raise Fault(f"its label {label!r} builds another component; use options that a text can write")


def _variants(component: Component) -> Iterator[Component]:
    """The component with one option changed, for each option of which another value is known."""
    values = {name: getattr(component, name) for name in type(component).model_fields}
    for name, value in values.items():
        for other in _others(value, type(component).model_fields[name].annotation):
            if other == value:
                continue
            try:
                variant = type(component)(**values | {name: other})
            except ValidationError:
                continue
            yield variant
            break


def _others(value: Any, annotation: Any) -> list[Any]:
    """Values that an option could have instead."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1]
        case float():
            return [value * 1.5, value / 2, value + 0.5]
        case str():
            return [word for word in get_args(annotation) if isinstance(word, str)]
        case tuple():
            return [value[:1], value + value[-1:]]
        case dict():
            return [value | {"a": 1.0}, value | {"a": "b"}]
    return []
