"""A suite without a file: the names that a command line or a call gives."""

from __future__ import annotations

from typing import Any

from mibench.names import options, validated
from mibench.suite.suite import Suite

__all__ = ["loose_suite"]


def loose_suite(
    datasets: list[str],
    defenses: list[str],
    attacks: list[str],
    seeds: list[int],
    model: str = "trained",
    recipe: str = "",
    samples: int | None = None,
) -> Suite:
    """A suite without controls.

    Args:
        datasets, defenses, attacks: names, as in a suite file.
        seeds: of splits, trainings and noise.
        model: "trained", "exact" or "fresh".
        recipe: such as "steps=2000,width=128", for every dataset.
        samples: drawn to measure utility; None for the default.

    Raises:
        UsageError: a value is wrong.
    """
    steps = options(recipe, "recipe") if recipe else {}
    fields: dict[str, Any] = {
        "datasets": datasets,
        "defenses": defenses,
        "attacks": attacks,
        "controls": False,
        "seeds": sorted(set(seeds)),
        "model": model,
        "recipe": {text.partition(":")[0]: steps for text in datasets} if steps else {},
        "utility": {} if samples is None else {"samples": samples},
    }
    return validated(Suite, fields, "run")
