"""The cell that a record is of, so that it can be computed again."""

from __future__ import annotations

from mibench.errors import MibenchError
from mibench.names import validated
from mibench.plugins import Registry
from mibench.results.facts import CellFacts
from mibench.results.record import Record
from mibench.suite.cells import Cell, CellSpec

__all__ = ["cell_of"]


def cell_of(record: Record, registry: Registry) -> Cell:
    """The cell of a record, its components built from their labels.

    Raises:
        UsageError: where a component is unknown.
        MibenchError: where a component has another version, or other options, than the one that made the record.
    """
    facts, labels = record.cell, record.labels
    values = {
        "dataset": labels["dataset"],
        "defense": labels["defense"],
        "attack": labels["attack"] if facts.attack else None,
        "seed": facts.seed,
        "model_kind": facts.model,
        "checkpoint": facts.checkpoint,
        "recipe": facts.recipe or {},
        "utility": facts.utility or {},
    }
    cell = validated(CellSpec, values, f"the record of {record.title}").cell(registry)
    here = CellFacts(**cell.spec())
    if here == facts:
        return cell
    for kind, part in here.components().items():
        made_by = facts.components().get(kind)
        if made_by and made_by.version != part.version:
            raise MibenchError(
                f"{record.title}: the record was made by version {made_by.version} of {kind} {part.name}, and version "
                f"{part.version} is installed; install the plugin with that version, or run the suite again"
            )
    raise MibenchError(f"{record.title}: its options are not those that its names stand for now; run the suite again")
