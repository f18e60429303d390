"""Digests of the code of components: what counts, and what does not."""

import itertools

import pytest

from mibench.names import build
from mibench.plugins import load
from mibench.source import code_changed, code_digest

SOURCE = '''
from mibench import Attack, hookimpl

SCALE = 2
UNUSED = 3


def size(x):
    """The size."""
    return SCALE * x.flatten(1).norm(dim=1)


class Mine(Attack):
    """A loose attack."""

    name = "mine"
    published = "x"

    def score(self, model, x, ctx):
        return {"x": size(x)}


class Finer(Mine):
    """Made from it."""

    name = "finer"


class Other(Attack):
    """Another one."""

    name = "other"
    published = "x"

    def score(self, model, x, ctx):
        return {"x": x.flatten(1).sum(1)}


@hookimpl
def mibench_attacks():
    return [Mine, Finer, Other]
'''
COUNT = itertools.count()


@pytest.fixture
def digests(tmp_path):
    """The digests of the three attacks of a source."""

    def of(source):
        path = tmp_path / str(next(COUNT)) / "mine.py"
        path.parent.mkdir()
        path.write_bytes(source.encode())
        registry = load((str(path),))
        return {name: code_digest(build(registry, "attack", name)) for name in ("mine", "finer", "other")}

    return of


@pytest.mark.parametrize(
    ("old", "new", "edited"),
    [
        ("x.flatten(1).sum(1)", "x.flatten(1).mean(1)", {"other"}),
        ("size(x)}", "-size(x)}", {"mine", "finer"}),
        (".norm(dim=1)", ".norm(dim=1, p=1)", {"mine", "finer"}),
        ("SCALE = 2", "SCALE = 4", {"mine", "finer"}),
        ('name = "finer"', 'name = "finer"\n    version = 2', {"finer"}),
        ("UNUSED = 3", "UNUSED = 4", set()),
        ("SCALE = 2", "SCALE = 2  # more", set()),
        ('"""The size."""', '"""How large it is."""', set()),
        ('"""A loose attack."""', '"""An attack of a file."""', set()),
        ("\n", "\r\n", set()),
        ('name = "mine"', 'name = "mine"\n    title = "My attack"', set()),
        ("SCALE * x.flatten(1).norm(dim=1)", "SCALE * (\n        x.flatten(1).norm(dim=1)\n    )", set()),
    ],
)
def test_an_edit_counts_for_the_classes_that_it_concerns(digests, old, new, edited):
    before, after = digests(SOURCE), digests(SOURCE.replace(old, new))
    assert {name for name in before if code_changed(before[name], after[name])} == edited
    assert len({*before.values()}) == 3 and all(text.startswith("class:") for text in before.values())


def test_options_do_not_count_and_what_is_wrapped_does():
    names = ("pia", "pia:p=2", "pian", "secmi", "rediffuse", "secmi+filter", "rediffuse+filter")
    digest = {name: code_digest(build(load(), "attack", name)) for name in names}
    assert digest["pia"] == digest["pia:p=2"] and len({*digest.values()}) == 6


def test_helpers_in_other_modules_of_the_package_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for k, (size, scale) in enumerate([("norm", 1), ("sum", 1), ("norm", 2)]):
        package = tmp_path / f"acme{k}"
        (package / "parts").mkdir(parents=True)
        (package / "parts" / "__init__.py").write_text("from .sizes import size\n")
        (package / "parts" / "sizes.py").write_text(f"def size(x):\n    return x.flatten(1).{size}(1)\n")
        (package / "tables.py").write_text(f"SCALE = {scale}\n")
        source = SOURCE.replace("SCALE = 2", "from . import tables\nfrom .parts import size as sized")
        source = source.replace("size(x)}", "tables.SCALE * sized(x)}")
        (package / "__init__.py").write_text(source)
        module = __import__(package.name)
        found.append(code_digest(module.Mine()))
    assert len(set(found)) == 3


def test_code_without_a_source_has_no_digest_and_is_not_compared(digests):
    made = type("Made", (type(build(load(), "attack", "pia")),), {"__doc__": "Made.", "name": "made"})
    assert code_digest(made()) == ""
    now = digests(SOURCE)["mine"]
    assert not any(code_changed(*pair) for pair in (("", now), (None, now), ("0" * 64, now), (now, now), (now, "")))
    assert code_changed("class:0", now)
