"""Cells whose records were made by other code of dataset, defense or attack than what is installed, at the same version."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from functools import cache

from mibench.source import code_changed, code_digest
from mibench.suite.cells import Cell
from mibench.suite.plan import Plan

__all__ = ["edit_notes", "edited_cells", "forget_edited"]


def edit_notes(plan: Plan) -> list[str]:
    """One line for each component that was edited since records of the plan were made, with what to do about it."""
    return [
        f"the code of {component} has changed since {count} of these records were made; --again (in Python again=True) "
        "makes them anew, or raise its version"
        for component, count in _counts(edited_cells(plan)).items()
    ]


def forget_edited(plan: Plan) -> list[str]:
    """Delete the records that were made by other code, with their scores and samples, so that a run makes them anew.

    Where a dataset or a defense was edited, the models go too.

    Returns:
        One line for each component that was edited.
    """
    edited = edited_cells(plan)
    for cell in edited:
        if weights := plan.weights(cell):
            for kind in ("scores", "samples"):
                plan.store.remove(kind, cell.key(weights))
        plan.path(cell).unlink()
    for cell, kinds in edited.items():  # all weights have been read
        for model in cell.models() if kinds != ["attack"] else []:
            plan.store.remove("models", model.model_key)
    counts = _counts(edited).items()
    return [
        f"{count} cells are computed anew, since the code of {component} has changed" for component, count in counts
    ]


def edited_cells(plan: Plan) -> dict[Cell, list[str]]:
    """The kinds of components that were edited without a new version, by cell."""
    edited, digest = {}, cache(code_digest)  # cells share their components
    for cell in plan.cells:
        with suppress(OSError, ValueError, LookupError, AttributeError):  # a record that is missing or broken
            raw = json.loads(plan.path(cell).read_bytes())
            code, facts = raw.get("code", {}), raw["cell"]
            same = {kind: part for kind, part in cell.parts.items() if facts[kind]["version"] == part.version}
            if kinds := [kind for kind, part in same.items() if code_changed(code.get(kind), digest(part))]:
                edited[cell] = kinds
    return edited


def _counts(edited: dict[Cell, list[str]]) -> Counter[str]:
    """How many cells each component concerns, by its kind and name."""
    return Counter(f"{kind} {cell.parts[kind].name}" for cell, kinds in edited.items() for kind in kinds)
