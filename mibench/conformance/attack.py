"""Whether an attack scores as a board asks, finds members in the exact model and none in the fresh one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mibench.components import Attack
from mibench.conformance.fault import Fault
from mibench.evaluate.measure import measure
from mibench.evaluate.report import Report
from mibench.evaluate.trainings import make_models
from mibench.kinds import ModelKind
from mibench.plugins import Registry
from mibench.recipe import Recipe
from mibench.results.record import Record
from mibench.results.store import Store
from mibench.suite.cells import Cell, CellSpec

__all__ = ["check_exact", "check_fresh", "check_points"]

SIZES = "members=50,nonmembers=200,reference=200"
NEAR_ONE, NEAR_HALF = 0.9, 0.2
"""The least AUROC on the exact model; and how far from .5 it may be on the fresh one, four standard deviations."""


def check_exact(attack: Attack, registry: Registry) -> str:
    """The scores are valid, and the AUROC on a model that has memorised the members is near 1."""
    record = _scored(attack, registry, "exact")
    if record.attack is None:
        return f"not judged: {record.reason}"
    if record.attack.published.setting != attack.published:
        raise Fault(
            f"its published setting {attack.published!r} is not among those of score(); return it, or name another"
        )
    auroc = _auroc(record)
    if record.model.steps:
        return "not judged: it needs weights, which an exact model does not have; it ran on a trained one"
    if attack.access == "data":
        return _expect_half(auroc, "though it sees no model")
    if auroc < 0.5 - NEAR_HALF:
        raise Fault(f"AUROC {auroc:.3f} on the exact model: the scores are inverted; a larger score must mean member")
    if auroc < NEAR_ONE:
        raise Fault(
            f"AUROC {auroc:.3f} on the exact model, which has memorised the members; near 1 is right, so mend score()"
        )
    return f"AUROC {auroc:.3f}"


def check_fresh(attack: Attack, registry: Registry) -> str:
    """The AUROC on a model that has memorised other data is near .5."""
    record = _scored(attack, registry, "fresh")
    if record.attack is None or record.model.steps:
        return "not judged, as above"
    return _expect_half(_auroc(record), "on the fresh model, which has seen no sample that is scored")


def check_points(attack: Attack, registry: Registry) -> str:
    """The attack works, or says that it cannot, on a process of another order and on data of another kind."""
    record = _scored(attack, registry, "exact", "hold3", f"swiss-roll:{SIZES}")
    return f"hold3, swiss roll: AUROC {_auroc(record):.3f}" if record.attack else f"n/a: {record.reason}"


def _auroc(record: Record) -> float:
    """The AUROC at the setting that calibration has chosen."""
    assert record.attack is not None and record.attack.calibrated.auroc.value is not None
    return record.attack.calibrated.auroc.value


def _expect_half(auroc: float, where: str) -> str:
    if abs(auroc - 0.5) > NEAR_HALF:
        raise Fault(
            f"AUROC {auroc:.3f} {where}; .5 is right: the scores know of more than the model, such as the order of samples"
        )
    return f"AUROC {auroc:.3f}"


def _scored(
    attack: Attack, registry: Registry, model: ModelKind, defense: str = "vp", dataset: str = f"digits:{SIZES}"
) -> Record:
    """The record of an attack, made as a run makes it; of a trained model where an attack on weights finds none."""
    recipe = Recipe(steps=20, width=16, depth=1)
    cell = (
        CellSpec(dataset=dataset, defense=defense, recipe=recipe, model_kind=model).cell(registry).with_attack(attack)
    )
    record = _record(cell)
    if record.status == "n/a" and attack.access == "weights":
        cell = CellSpec(dataset=dataset, defense=defense, recipe=recipe).cell(registry).with_attack(attack)
        record = _record(cell)
    return record


def _record(cell: Cell) -> Record:
    """The record of a cell, made in a store that is then deleted; raises the error of a cell that fails."""
    records: list[Record] = []

    def ignore(*what: Any) -> None:
        pass

    def fail(index: int, error: Exception) -> None:
        raise error

    report = Report(ignore, lambda index, record: records.append(record), fail, ignore, ignore)
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        make_models(cell.models(), store, "cpu", report)
        measure([cell], store, "cpu", report)
    return records[0]
