"""Write the parts of these pages that follow from the code: python docs/generate.py [--check].

A generated part stands between ``<!-- generated: name -->`` and ``<!-- end -->``. With --check nothing is written; the pages
that are not current are named, and the exit code is 1.
"""

import argparse
import functools
import inspect
import json
import re
import runpy
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import mibench
from mibench import hookspecs
from mibench.leaderboard.board import open_board
from mibench.leaderboard.controls import controls
from mibench.leaderboard.frame import COLUMNS
from mibench.leaderboard.text import markdown_table, rate
from mibench.plugins import load
from mibench.recipe import Recipe
from mibench.results import facts, figures
from mibench.results.known import Known
from mibench.results.record import Record
from mibench.suite.cells import Utility
from mibench.suite.suite import Suite

DOCS = Path(__file__).parent
WIDTH = 100
PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n((?:(?: .*)?\n)*)", re.MULTILINE)
Schema = dict[str, Any]


def entries(block: str) -> dict[str, str]:
    """The entries ``name: text`` of a docstring's section, which may go on over several lines."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(block).strip()):
        name, _, text = " ".join(entry.split()).partition(": ")
        found[name] = text
    return found


def prose(doc: str) -> Iterator[str]:
    """A docstring as Markdown: its paragraphs wrapped, its sections as lists."""
    doc = doc.replace("``", "`") + "\n"
    sections = SECTION.findall(doc)
    for paragraph in re.split(r"\n\s*\n", SECTION.sub("", doc).strip()):
        yield textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
    for title, block in sections:
        if title == "Returns":
            yield textwrap.fill("Returns: " + " ".join(block.split()), WIDTH, break_on_hyphens=False)
            continue
        items = [f"- `{name}`: {text}" for name, text in entries(block).items()]
        lines = [textwrap.fill(item, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for item in items]
        yield f"{title}:\n\n" + "\n".join(lines)


class Verbatim(str):
    """Text that stands for an annotation or a default, shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose annotation and default are shown as one would write them."""
    if isinstance(parameter.annotation, str):
        parameter = parameter.replace(annotation=Verbatim(parameter.annotation))
    if repr(parameter.default).startswith("<mibench."):
        parameter = parameter.replace(default=Verbatim(f"{type(parameter.default).__name__}()"))
    return parameter


def signature(name: str, function: Callable[..., Any]) -> str:
    """``name(parameters) -> type`` as a block of code, one parameter per line where it is long."""
    shown = inspect.signature(function)
    parameters = [plain(p) for p in shown.parameters.values() if p.name not in ("self", "cls")]
    returns = shown.return_annotation
    returns = Verbatim(returns) if isinstance(returns, str) else returns
    text = f"{name}{shown.replace(parameters=parameters, return_annotation=returns)}"
    if len(text) > WIDTH:
        lines = [str(p) for p in parameters]
        keywords = [p.kind is p.KEYWORD_ONLY for p in parameters]
        if True in keywords and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            lines.insert(keywords.index(True), "*")
        text = "\n".join([f"{name}(", *(f"    {line}," for line in lines), text[text.rindex(")") :]])
    return f"```python\n{text}\n```"


def members(cls: type) -> Iterator[str]:
    """The public methods and properties that a class defines itself."""
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", None) or getattr(member, "fget", None) or getattr(member, "func", member)
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        yield f"#### `{cls.__name__}.{name}`"
        if inspect.isroutine(member):
            yield signature(name, function)
        yield from prose(inspect.cleandoc(function.__doc__))


def described(name: str) -> Iterator[str]:
    """One name of the Python interface."""
    thing = getattr(mibench, name)
    yield f"### `mibench.{name}`"
    if inspect.isfunction(thing):
        yield signature(f"mibench.{name}", thing)
        yield from prose(inspect.getdoc(thing) or "")
    elif inspect.isclass(thing):
        bases = [f"`{base.__name__}`" for base in thing.__bases__ if base.__name__ in mibench.__all__]
        yield from [f"A subclass of {', '.join(bases)}."] if bases else []
        if "__init__" in vars(thing) and not issubclass(thing, BaseModel):
            yield signature(f"mibench.{name}", thing)
        yield from prose(inspect.cleandoc(thing.__doc__ or ""))
        fields = getattr(thing, "model_fields", {})
        own = [name for name in fields if name in inspect.get_annotations(thing) and fields[name].description]
        if own:
            yield "Options:"
            yield table("option", thing.model_json_schema(), own)
        yield from members(thing)
    elif type(thing).__module__.startswith("mibench."):
        yield f"An instance of `{type(thing).__name__}`. {inspect.cleandoc(type(thing).__doc__).partition(chr(10))[0]}"
    else:
        yield "Marks the hooks of a plugin, each of which returns a list of classes:"
        hooks = [getattr(hookspecs, hook) for hook in hookspecs.__all__ if hook.startswith("mibench_")]
        yield "\n".join(f"- `{hook.__name__}`: {hook.__doc__.replace('``', '`')}" for hook in hooks)


def names(kind: str) -> list[str]:
    """The functions, the classes or the others among the names of the Python interface."""

    def kind_of_name(name: str) -> str:
        thing = getattr(mibench, name)
        return "functions" if inspect.isfunction(thing) else "classes" if inspect.isclass(thing) else "others"

    return [name for name in mibench.__all__ if kind_of_name(name) == kind]


def index() -> str:
    """Links to every name of the Python interface, in the order of the page."""
    links: dict[str, str] = {}
    for name in [name for kind in ("functions", "classes", "others") for name in names(kind)]:
        anchor = f"mibench{name.lower()}"
        links[f"{anchor}-1" if anchor in links else anchor] = (
            name  # a second heading of this text, as of model and Model
        )
    text = " · ".join(f"[{name}](#{anchor})" for anchor, name in links.items())
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def interface(kind: str) -> str:
    """Everything that the Python interface has of this kind."""
    return "\n\n".join(block for name in names(kind) for block in described(name))


def kind_of(field: Schema) -> str:
    """The type and the range of a field in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(kind_of(option) for option in field["anyOf"])
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        if "prefixItems" in field:
            return f"[{', '.join(kind_of(item) for item in field['prefixItems'])}]"
        return f"list of {kind_of(field['items'])}" + (", at least one" if field.get("minItems") else "")
    if field.get("type") == "object":
        values = field.get("additionalProperties")
        return "object" + (f" of {kind_of(values)}" if isinstance(values, dict) else "")
    if "minimum" in field and "maximum" in field:
        return f"{field['type']} from {field['minimum']} to {field['maximum']}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {field[name]}" for name, word in words.items() if name in field]
    return " ".join([field.get("type", "any"), " and ".join(limits)]).strip()


def table(head: str, schema: Schema, names: list[str] | None = None, defaults: bool = True) -> str:
    """The fields of a JSON Schema: type, default and meaning."""
    heads = [head, "type", *(["default"] if defaults else []), "meaning"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in names or schema["properties"]:
        field = schema["properties"][name]
        default = "required" if name in schema.get("required", []) else f"`{json.dumps(field.get('default'))}`"
        meaning = field.get("description", "").replace("``", "`").replace("|", "\\|").removesuffix(".")
        rows.append(f"| {' | '.join([f'`{name}`', kind_of(field), *([default] if defaults else []), meaning])} |")
    return "\n".join(rows)


def record_schema() -> Schema:
    """The JSON Schema of a record; descriptions are those of the docstrings of its classes and their bases."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema()}
    classes = {**vars(facts), **vars(figures), "Record": Record}
    for name, part in {"Record": schema, **schema["$defs"]}.items():
        part["description"] = " ".join(SECTION.sub("", part["description"] + "\n").split())
        for cls in reversed(classes[name].__mro__[: -len(BaseModel.__mro__)]):
            own = SECTION.findall(inspect.cleandoc(cls.__doc__ or "") + "\n")
            texts = {
                each: text for _, block in own for names, text in entries(block).items() for each in names.split(", ")
            }
            for field, text in texts.items():
                alias = classes[name].model_fields[field].alias or field
                part["properties"][alias]["description"] = text.replace("``", "`")
    return schema


def record_tables() -> str:
    """The record and each of its parts, in the order in which they are mentioned."""
    schema = record_schema()
    blocks: list[str] = []
    for name in (queue := ["Record"]):
        part = schema["$defs"].get(name, {key: value for key, value in schema.items() if key != "$defs"})
        queue += dict.fromkeys(ref for ref in re.findall(r"#/\$defs/(\w+)", json.dumps(part)) if ref not in queue)
        blocks += [f"### {name}", *prose(part["description"]), table("key", part, defaults=False)]
    return "\n\n".join(blocks)


def control_table() -> str:
    """What attacks reach on the controls of the suite ``attacks``: least AUROC if exact, the farthest from .5 if fresh."""
    board = open_board(DOCS.parent / "leaderboards" / "attacks", Known.of(load()))
    found = {dataset: controls(board, dataset) for dataset in board.datasets()}
    header = [f"{dataset.partition(':')[0]}: {kind}" for dataset in found for kind in ("exact", "fresh")]
    rows = []
    for attack in dict.fromkeys(attack for each in found.values() for attack in each):
        of = [each.get(attack) for each in found.values()]
        areas = [area for one in of for area in ((one.exact, one.fresh) if one else (None, None))]
        rows.append([f"`{attack}`", *("n/a" if area is None else rate(area) for area in areas)])
    return markdown_table(["attack", *header], rows)


def measure_table() -> str:
    """The bundled measures: what each changes and does, its options with their defaults, its adversary and its source."""
    rows = []
    for name, cls in load().components["measure"].items():
        if not cls.__module__.startswith("mibench_measures."):
            continue
        measure = cls()
        values = {option: getattr(measure, option) for option in cls.model_fields}
        options = ", ".join(f"`{option}={'none' if value is None else value}`" for option, value in values.items())
        adversaries = ", ".join(f"`{attack}`" for attack in measure.adaptive)
        rows.append([f"`{name}`", measure.stage, cls.summary(), options, adversaries, measure.paper])
    return markdown_table(["measure", "stage", "what it does", "options", "adversary", "source"], rows)


PARTS: dict[str, Callable[[], str]] = {
    "measures": measure_table,
    "suite": lambda: table("key", Suite.model_json_schema()),
    "recipe": lambda: table("key", Recipe.model_json_schema()),
    "utility": lambda: table("key", Utility.model_json_schema()),
    "index": index,
    "functions": lambda: interface("functions"),
    "classes": lambda: interface("classes"),
    "others": lambda: interface("others"),
    "record": record_tables,
    "controls": control_table,
    "columns": lambda: "\n".join(
        [
            "| column | type | meaning |",
            "|---|---|---|",
            *(f"| `{name}` | {kind} | {text} |" for name, (kind, text) in COLUMNS.items()),
        ]
    ),
}


for program in ("verdict.py", "paper.py"):  # a page of figures has a file of its own
    PARTS |= runpy.run_path(str(DOCS / program))["PARTS"]


@functools.cache
def pages() -> dict[Path, str]:
    """Every page with generated parts, and the record's schema, as they should be."""
    current = {DOCS / "record.schema.json": json.dumps(record_schema(), indent=1, ensure_ascii=False) + "\n"}
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if PART.search(text):
            current[path] = PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}", text)
    return current


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="write the generated parts of the pages in docs/")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not current")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"docs/{path.name} is not current; run python docs/generate.py", file=sys.stderr)
        else:
            path.write_text(pages()[path], encoding="utf-8")
            print(f"wrote docs/{path.name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
