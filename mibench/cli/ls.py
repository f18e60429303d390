"""``mibench ls``."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from mibench.cli.common import add_json, add_plugins, print_json
from mibench.errors import UsageError, one_line

if TYPE_CHECKING:
    from mibench.components import Component
    from mibench.plugins import Registry

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "what",
        nargs="?",
        help="datasets, defenses, measures, attacks, or the name of one, such as vp+dropout (default: all)",
    )
    add_json(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """List components with summary, source and options; those of a name with types and ranges."""
    from mibench.plugins import load

    registry = load(tuple(args.plugin))
    chosen = _chosen(registry, args.what)
    if broken := registry.broken():
        print(f"note: {one_line(broken)}", file=sys.stderr)
    if args.json:
        print_json({f"{kind}s": [_facts(registry, cls) for cls in classes] for kind, classes in chosen.items()})
        return 0
    single = args.what not in (None, *(f"{kind}s" for kind in chosen))
    for kind, classes in chosen.items():
        print(f"{kind}s")
        for cls in classes:
            _print(_facts(registry, cls), single)
    return 0


def _chosen(registry: Registry, what: str | None) -> dict[str, list[type[Component]]]:
    """The components that a word stands for, by kind.

    Raises:
        UsageError: where it is neither a kind nor a name, or its options are wrong.
    """
    from mibench.names import build, did_you_mean, split_plus

    known = registry.components
    kinds = {f"{kind}s": kind for kind in known}
    if what is None or what in kinds:
        return {kind: list(known[kind].values()) for kind in known if what in (None, f"{kind}s")}
    found: list[type[Component]] = []
    near: list[UsageError] = []
    for kind, named in known.items():
        try:
            parts = build(registry, kind, what).parts()
        except UsageError as error:
            near += [error] if what.startswith(tuple(named)) else []
            continue
        if len(split_plus(what)) == 1:
            parts = parts[:1]  # not what a wrapper wraps by default
        found += [type(part) for part in (reversed(parts) if kind == "attack" else parts)]
    if not found and near:
        raise near[0]
    if not found:
        names = [*kinds, *(name for named in known.values() for name in named)]
        raise UsageError(
            f"there is no dataset, defense, measure or attack {what!r}{did_you_mean(what, names, registry.broken())}"
        )
    shown = {kind: [cls for cls in dict.fromkeys(found) if cls in named.values()] for kind, named in known.items()}
    return {kind: classes for kind, classes in shown.items() if classes}


def _facts(registry: Registry, cls: type[Component]) -> dict[str, Any]:
    """What a component is; its options as JSON Schema says them."""
    words = ("access", "published", "adaptive")
    facts = {word: getattr(cls, word) for word in words if hasattr(cls, word)}
    plain = {name: getattr(cls, name) for name in ("name", "version", "paper", "shorthand")}
    return {
        **plain,
        "summary": cls.summary(),
        "source": registry.origin[cls].source,
        **facts,
        "options": _options(cls),
    }


def _options(cls: type[Component]) -> dict[str, dict[str, Any]]:
    """The JSON Schema of every option, by name; the attack that a wrapper wraps is of type "attack"."""
    from pydantic.errors import PydanticUserError

    fields = cls.model_fields
    try:
        schema = cls.model_json_schema()["properties"] if fields else {}
    except PydanticUserError:  # a type of a plugin that JSON does not know
        schema = {
            name: {"default": str(field.default), "description": field.description} for name, field in fields.items()
        }
    options = {}
    for name, told in schema.items():
        options[name] = {key: value for key, value in told.items() if key not in ("title", "$ref")}
        if "$ref" in told:
            options[name] |= {"type": "attack", "default": fields[name].default.label}
    return options


def _print(facts: dict[str, Any], in_full: bool) -> None:
    """A component for people; in full with the type and range of every option."""
    name, shorthand = facts["name"], facts["shorthand"]
    short = f" ({name}N sets {shorthand})" if shorthand else ""
    paper = f" [{facts['paper']}]" if facts["paper"] else ""
    print(f"  {name}{short}: {facts['summary']}{paper} · version {facts['version']}, {facts['source']}")
    rows = []
    for option, schema in facts["options"].items():
        default = _shown(schema.get("default"))
        described = schema.get("description") or ""
        rows.append(
            (option, _type(schema), f"default {default}", described) if in_full else (f"{option}={default}", described)
        )
    if rows:
        from mibench.leaderboard.text import columns

        print(textwrap.indent(columns(rows), "      "))


def _shown(value: Any) -> str:
    """A default as it is written on the command line."""
    if value is None:
        return "none"
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)


def _type(schema: dict[str, Any]) -> str:
    """The type of an option in words, with its choices or its range."""
    if "anyOf" in schema:
        return " or ".join("none" if one.get("type") == "null" else _type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list, each {_type(schema.get('items', {}))}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return ", ".join([schema.get("type", "any"), *limits])
