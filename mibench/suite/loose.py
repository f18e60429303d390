"""A suite without a file: the names that a command line or a call gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mibench.errors import UsageError
from mibench.names import options, validated
from mibench.suite.cells import Utility
from mibench.suite.suite import Suite

__all__ = ["loose_suite"]

NAMED = {"datasets": "dataset", "defenses": "defense", "attacks": "attack", "seeds": "seed", "model": "model"}
"""The fields of a suite as a call and a command line name them."""


def loose_suite(
    datasets: list[str],
    defenses: list[str],
    attacks: list[str],
    seeds: list[int],
    model: str = "trained",
    recipe: str | Mapping[str, Any] = "",
    utility: str | Mapping[str, Any] = "",
) -> Suite:
    """A suite without controls.

    Args:
        datasets, defenses, attacks: names, as in a suite file.
        seeds: of splits, trainings and noise.
        model: "trained", "exact" or "fresh".
        recipe: changes of every dataset's recipe, such as "steps=2000,width=128" or {"steps": 2000, "width": 128}.
        utility: how samples are drawn and measured, likewise.

    Raises:
        UsageError: a value is wrong.
    """
    changes = _options(recipe, "recipe")
    fields: dict[str, Any] = {
        "datasets": datasets,
        "defenses": defenses,
        "attacks": attacks,
        "controls": False,
        "seeds": sorted(set(seeds)),
        "model": model,
        "recipe": {text.partition(":")[0]: changes for text in datasets} if changes else {},
        "utility": validated(Utility, _options(utility, "utility"), "utility"),
    }
    return validated(Suite, fields, "run", NAMED)


def _options(given: str | Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options by name; numbers as text, as on the command line, so that both ways give the same suite."""
    if isinstance(given, str):
        return options(given, where)
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} {given!r}: give text such as 'a=1,b=2', or a dict")
    numbers = {name: str(value) for name, value in given.items() if isinstance(value, (int, float))}
    return {**given, **numbers}
