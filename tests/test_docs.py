"""The documents agree with the code: cards of attacks, commands, modules, files; and their lines are short."""

import argparse
import importlib
import json
import pkgutil
import re
import runpy
import shlex
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import torch

import mibench
from mibench import IMAGE, Attack
from mibench.cli.__init__ import COMMANDS
from mibench.context import Context
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.kinds import Access
from mibench.names import build
from mibench.plugins import load
from mibench.recipe import Recipe
from mibench.seeds import generator
from mibench.suite.suite import Suite
from mibench_attacks import ATTACKS

ROOT = Path(__file__).parent.parent
CARDS = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "plugins/template/README.md"))]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))


def table():
    """The table of attacks, cells by name."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in CARDS.splitlines() if line[:4] == "| [`"]
    return {row[0].split("`")[1]: row[1:] for row in rows}


def lines(path):
    """Each line of a document with its number, and whether it is in a block of code."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.startswith("```")
        yield number, line, fenced or line.startswith(("    ", "```"))


def commands():
    """Every `mibench …` in code spans and blocks of code, with its placeholders such as <name> and …"""
    for path in DOCUMENTS:
        found = re.findall(r"`(mibench [^`]+)`", path.read_text(encoding="utf-8"))
        found += [line.strip().removeprefix("$ ") for _, line, code in lines(path) if code]
        for line in dict.fromkeys(" ".join(text.split()) for text in found if text.startswith("mibench ")):
            yield pytest.param(line, id=f"{path.name}: {line[:50]}")


def named():
    """Every module, attribute of one, and file of this repository that a document names in a code span or a link."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"`(mibench(?:\.\w+)+)`", text)
        names += re.findall(r"`((?:mibench|plugins|tests|benchmarks|docs)/[\w./-]+)`", text)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
        names += [str((path.parent / link).resolve().relative_to(ROOT)) for link in links]
        for name in dict.fromkeys(names):
            yield pytest.param(name, id=f"{path.name}: {name}")


def test_every_attack_has_a_card_and_a_row():
    names = sorted(attack.name for attack in ATTACKS)
    assert sorted(re.findall(r"^### (\S+)$", CARDS, re.MULTILINE)) == names
    assert sorted(table()) == names
    for card in re.split(r"^### ", CARDS, flags=re.MULTILINE)[1:]:
        for part in ("**Formula**", "**Source**", "**Weaknesses**"):
            assert part in card, f"{card.split()[0]} has no {part}"


@pytest.mark.parametrize("kind", ATTACKS, ids=lambda kind: kind.name)
def test_a_row_says_what_the_attack_is(kind):
    column, _, _, shadows, learns, adaptive = table()[kind.name]
    attack = kind()
    assert column == attack.tier
    assert int(shadows) == attack.shadow_models()[0]
    assert adaptive == ("yes" if attack.adaptive else "no")
    if not kind.wraps:  # the fit of a wrapper is that of its base
        assert learns == ("no" if kind.fit is Attack.fit else "yes")


@pytest.mark.parametrize(("defense", "place"), [("vp", 1), ("hold2", 2)])
@pytest.mark.parametrize(
    "name",
    [
        "nn",
        "loss",
        "likelihood",
        "secmi",
        "filter",
        "audit",
        "pia",
        "pian",
        "sima",
        "pfami",
        "rediffuse",
        "loss-vector",
        "adaptive",
    ],
)
def test_evaluations_are_those_of_the_table(name, defense, place):
    points = torch.randn(6, 1, 8, 8, generator=generator(0, "points"))
    process, denoiser, attack = (
        build(load(), "defense", defense).process(),
        ExactDenoiser(points),
        build(load(), "attack", name),
    )
    model = Model(process, denoiser, (1, 8, 8))
    ctx = Context(0, modality=IMAGE, draw=lambda count: torch.zeros(count, 1, 8, 8, dtype=torch.float64))
    attack.fit(model, points[:2].double(), points[2:4].double(), ctx)
    model.cost.forwards = model.cost.vjps = 0
    attack.score(model, points[4:].double(), ctx)
    forwards, _, vjps = table()[name][place].partition(" + ")
    assert (model.cost.forwards, model.cost.vjps) == (2 * int(forwards), 2 * int(vjps or 0))


def test_the_words_of_access_are_those_of_the_protocol():
    rows = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").partition("| access |")[2].partition("\n\n")[0]
    assert tuple(line.split("|")[1].strip() for line in rows.splitlines()[2:]) == get_args(Access)


@pytest.mark.parametrize("line", [*commands()])
def test_quoted_commands_parse(line):
    words = shlex.split(line.replace("…", " "), comments=True)
    words = [re.sub(r"<\w+>", "run", word) for word in words[1:] if word != "--help"]
    if not words:
        return
    assert words[0] in COMMANDS
    if len(words) == 1:  # the name of a command
        return
    parser = Parser(words[0])
    importlib.import_module(f"mibench.cli.{words[0].replace('-', '_')}").arguments(parser)
    parser.parse_args(words[1:])


@pytest.mark.parametrize("name", [*named()])
def test_what_is_named_exists(name):
    if not name.startswith("mibench."):
        assert (ROOT / name).exists()
        return
    pkgutil.resolve_name(name)


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    found = []
    for _, line, code in lines(path):
        if line.startswith("#") and not code:
            anchor = re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            found.append(f"{anchor}-{again}" if (again := found.count(anchor)) else anchor)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_headings(path):
    for page, anchor in re.findall(r"\]\(((?!https?:)[^)#\s]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")):
        assert anchor in anchors((path.parent / page) if page else path), f"{path.name}: {page}#{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_lines_of_prose_are_short(path):
    long = [number for number, line, code in lines(path) if len(line) > 100 and not code and line[0] not in "|!"]
    assert not long, f"{path.name}: wrap the lines {long} at 100 columns"


GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("path", GENERATE["pages"](), ids=lambda path: path.name)
def test_generated_pages_are_current(path):
    current = GENERATE["pages"]()[path]
    assert path.read_text(encoding="utf-8") == current, "run python docs/generate.py"


def test_the_python_page_has_every_public_name():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### `mibench\.(\w+)`$", page, re.MULTILINE)) == sorted(mibench.__all__)


def test_every_room_is_in_the_table_of_the_house():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "mibench").iterdir()}
    missing = [room for room in rooms if not room.startswith("_") and not re.search(rf"[`/]{room}`", page)]
    assert not missing


def test_every_key_of_suites_and_records_is_described():
    schemas = [Suite.model_json_schema(), Recipe.model_json_schema(), GENERATE["record_schema"]()]
    for schema in schemas:
        for part in (schema, *schema.get("$defs", {}).values()):
            bare = [name for name, field in part["properties"].items() if not field.get("description")]
            assert not bare, f"{part['title']}: {bare}"


def test_committed_records_follow_the_schema():
    schema = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    paths = sorted((ROOT / "leaderboards").rglob("records/**/*.json"))[::20]
    assert len(paths) > 100
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        validator.validate(record)
    assert not validator.is_valid({**record, "seconds": "1"}) and not validator.is_valid({**record, "new": 1})


def test_there_is_something_to_check():
    assert len([*commands()]) > 20 and len([*named()]) > 40


class Parser(argparse.ArgumentParser):
    """Says what is wrong instead of leaving."""

    def error(self, message):
        raise AssertionError(message)
