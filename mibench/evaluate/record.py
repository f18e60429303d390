"""What a cell's measurement says, as a record."""

from __future__ import annotations

from dataclasses import dataclass, field

from mibench.data import Split
from mibench.diffusion.model import Cost
from mibench.evaluate.environment import environment
from mibench.evaluate.target import Target
from mibench.plugins import source_of
from mibench.results.facts import CellFacts, CostFacts, Environment, ModelFacts, SplitFacts
from mibench.results.figures import AttackMetrics, AuditMetrics, UtilityMetrics
from mibench.results.record import Record
from mibench.source import code_digest
from mibench.suite.cells import Cell

__all__ = ["Measurement", "build_record"]


@dataclass(frozen=True)
class Measurement:
    """What was measured of one cell.

    Attributes:
        metrics: of the attack, the audit or the model's samples; None where the attack is not applicable.
        cost: evaluations of the model for all scored or drawn samples.
        seconds: that it took.
        fit_cost: evaluations of all models while the attack learned.
        shadow_cost: evaluations of shadow models while it scored.
        reason: why the attack is not applicable.
        environment: where it was measured.
        code: digest of the attack that gave the scores.
    """

    metrics: AttackMetrics | AuditMetrics | UtilityMetrics | None = None
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    fit_cost: Cost | None = None
    shadow_cost: Cost | None = None
    reason: str | None = None
    environment: Environment | None = None
    code: str | None = None


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
        audit=measured.metrics if isinstance(measured.metrics, AuditMetrics) else None,
        utility=measured.metrics if isinstance(measured.metrics, UtilityMetrics) else None,
        cost=_cost(cell, target, measured),
        environment=measured.environment or environment(target.device),
        code=_code(cell, target, measured),
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
        canaries=(len(data.canaries), int(data.included.sum())) if len(data.canaries) else None,
        notes=data.notes or None,
    )


def _code(cell: Cell, target: Target, measured: Measurement) -> dict[str, str]:
    """What the model and the scores were made by, which may be older than what is installed now."""
    now = {kind: code_digest(part) for kind, part in cell.parts.items()}
    made = target.facts.get("code", {}) | ({"attack": measured.code} if measured.code else {})
    return {kind: code for kind, code in (now | made).items() if code}


def _model(cell: Cell, target: Target) -> ModelFacts:
    facts = {name: value for name, value in target.facts.items() if name not in ("spec", "split", "code")}
    if cell.model_kind == "trained" and cell.shadows():
        facts["shadows"] = [target.store.meta("models", shadow.model_key)["digest"] for shadow in cell.shadows()]
    return ModelFacts(key=cell.model_key, **facts)


def _cost(cell: Cell, target: Target, measured: Measurement) -> CostFacts:
    """Evaluations per scored or drawn sample; those of learning are totals."""
    count = sum(map(len, target.sides(cell.attack.audits))) if cell.attack else cell.utility.samples
    count = max(1, count)
    costs = {name: value / count for name, value in vars(measured.cost).items()}
    if measured.fit_cost:
        costs |= {f"fit_{name}": value for name, value in vars(measured.fit_cost).items()}
    if measured.shadow_cost:
        costs |= {f"shadow_{name}": value / count for name, value in vars(measured.shadow_cost).items()}
    return CostFacts(**costs)
