"""Every registered component passes the checks of ``mibench check``, whoever brought it."""

import pytest

from mibench.conformance import check, checks_of
from mibench.plugins import load

REGISTRY = load()
EVERY = [
    pytest.param(kind, name, title, id=f"{kind} {name}: {title}")
    for kind, known in REGISTRY.components.items()
    for name, cls in known.items()
    for title in checks_of(kind)
    if title == "options" or not getattr(cls, "needs_files", False)
]
SLOW = {"lira", "rmia", "gsa", "likelihood"}


@pytest.mark.parametrize(("kind", "name", "title"), EVERY)
def test_a_component_passes(kind, name, title):
    if name in SLOW and title in ("fresh model", "other process and data"):
        pytest.skip("slow; `mibench check mibench` runs it, and so does the slow test below")
    finding = check(REGISTRY.components[kind][name](), title, REGISTRY)
    assert finding.sound, finding


@pytest.mark.slow
def test_the_bundled_components_are_sound(cli):
    code, out, _ = cli("check", "mibench")
    assert code == 0 and "mibench: sound" in out, out
