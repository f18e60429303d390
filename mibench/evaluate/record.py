"""What a cell's measurement says, as a record."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import version

import torch

from mibench.data import Split
from mibench.diffusion.model import Cost
from mibench.evaluate import scoring
from mibench.evaluate.target import Target
from mibench.plugins import code_digest, source_of
from mibench.results.facts import CellFacts, CostFacts, Environment, ModelFacts, SplitFacts
from mibench.results.figures import AttackMetrics, UtilityMetrics
from mibench.results.record import Record
from mibench.suite.cells import Cell

__all__ = ["Measurement", "build_record"]

VERSIONS = {name: version(name) for name in ("mibench", "torch", "numpy", "scipy", "scikit-learn")}


@dataclass(frozen=True)
class Measurement:
    """What was measured of one cell.

    Attributes:
        metrics: of the attack or of the model's samples; None where the attack is not applicable.
        cost: evaluations of the model for all scored or drawn samples.
        seconds: that it took.
        fit_cost: evaluations of all models while the attack learned.
        shadow_cost: evaluations of shadow models while it scored.
        reason: why the attack is not applicable.
    """

    metrics: AttackMetrics | UtilityMetrics | None = None
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    fit_cost: Cost | None = None
    shadow_cost: Cost | None = None
    reason: str | None = None


def build_record(cell: Cell, target: Target, measured: Measurement) -> Record:
    """The sealed record of a cell of a target."""
    return Record(
        key=cell.key(target.weights),
        status="n/a" if measured.reason else "done",
        reason=measured.reason,
        labels=cell.labels,
        cell=CellFacts(**cell.spec()),
        split=_split(target.data),
        model=_model(cell, target),
        attack=measured.metrics if isinstance(measured.metrics, AttackMetrics) else None,
        utility=measured.metrics if isinstance(measured.metrics, UtilityMetrics) else None,
        cost=_cost(cell, target.data, measured),
        environment=_environment(target.device),
        code={kind: code for kind, part in cell.parts.items() if (code := code_digest(part))},
        packages={kind: source for kind, part in cell.parts.items() if (source := source_of(part))},
        seconds=round(measured.seconds, 3),
    ).sealed()


def _split(data: Split) -> SplitFacts:
    return SplitFacts(
        fingerprint=data.fingerprint,
        near_duplicates=data.near_duplicates,
        members=len(data.members),
        nonmembers=len(data.nonmembers),
        reference=len(data.reference),
        notes=data.notes or None,
    )


def _model(cell: Cell, target: Target) -> ModelFacts:
    facts = {name: value for name, value in target.facts.items() if name not in ("spec", "split")}
    if cell.model_kind == "trained" and cell.shadows():
        facts["shadows"] = [target.store.meta("models", shadow.model_key)["digest"] for shadow in cell.shadows()]
    return ModelFacts(key=cell.model_key, **facts)


def _cost(cell: Cell, data: Split, measured: Measurement) -> CostFacts:
    """Evaluations per scored or drawn sample; those of learning are totals."""
    count = len(data.members) + len(data.nonmembers) if cell.attack else cell.utility.samples
    costs = {name: value / count for name, value in vars(measured.cost).items()}
    if measured.fit_cost:
        costs |= {f"fit_{name}": value for name, value in vars(measured.fit_cost).items()}
    if measured.shadow_cost:
        costs |= {f"shadow_{name}": value / count for name, value in vars(measured.shadow_cost).items()}
    return CostFacts(**costs)


def _environment(device: str) -> Environment:
    return Environment(
        python=platform.python_version(),
        **VERSIONS,
        device=device,
        chip=torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        threads=torch.get_num_threads(),
        scoring_batch=scoring.BATCH,
        deterministic=device == "cpu",
    )
