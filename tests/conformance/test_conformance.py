"""Every registered component passes the checks of ``mibench check``, whoever brought it."""

import pytest

from mibench.conformance import check, checks_of
from mibench.plugins import load

REGISTRY = load()
SLOW = {"lira", "rmia", "gsa", "likelihood"}
EVERY = [
    pytest.param(kind, name, title, id=f"{kind} {name}: {title}")
    for kind, known in REGISTRY.components.items()
    for name, cls in known.items()
    for title in checks_of(kind)
    if title == "options" or not getattr(cls, "needs_files", False)
    if name not in SLOW or title in ("options", "exact model")
]


@pytest.mark.parametrize(("kind", "name", "title"), EVERY)
def test_a_component_passes(kind, name, title):
    finding = check(REGISTRY.components[kind][name](), title, REGISTRY)
    assert finding.sound, finding


@pytest.mark.slow
def test_the_bundled_components_are_sound(cli):
    code, out, _ = cli("check", "mibench")
    assert code == 0 and "mibench: sound" in out, out
