"""The lines that ``mibench run`` prints for cells without a suite file: privacy, claim, utility, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mibench.metrics.headings import heading, kernel_heading
from mibench.results.record import Record, read_record

if TYPE_CHECKING:
    from mibench.results.figures import UtilityMetrics
    from mibench.suite.plan import Plan

__all__ = ["print_summary"]


def print_summary(plan: Plan) -> None:
    """Print one line for each attack that has a record."""
    records = [(cell, read_record(plan.path(cell))) for cell in plan.cells if plan.path(cell).exists()]
    utility = {cell.model_key: record.utility for cell, record in records if cell.attack is None}
    for cell, record in records:
        if cell.attack is None:
            continue
        if record.attack is None:
            print(f"{cell.title}: " + " · ".join([record.headline(), *_claim(record)]))
            continue
        parts = [*_privacy(record), *_claim(record), *_utility(utility.get(cell.model_key)), *_cost(record)]
        print(f"{cell.title}: " + " · ".join(parts))


def _privacy(record: Record) -> list[str]:
    assert record.attack
    parts = [record.headline()]
    tprs = record.attack.calibrated.tpr
    rates = sorted(((float(fpr), rate) for fpr, rate in tprs.items() if rate.value is not None), key=lambda one: one[0])
    for fpr, rate in rates[:1]:  # of the smallest rate that the samples allow
        span = f" [{rate.interval[0]:.2f}, {rate.interval[1]:.2f}]" if rate.interval else ""
        parts.append(f"TPR@{100 * fpr:g}%FPR {rate.value:.3f}{span}")
    return parts


def _claim(record: Record) -> list[str]:
    """The privacy that the defense claims of the training, with a warning where its δ promises no member anything."""
    claim = record.model.claim
    if claim is None or claim.epsilon is None:
        return [str(claim)] if claim else []
    large = record.split is not None and claim.delta >= 1 / record.split.members
    return [f"claims {claim}" + ", whose δ is 1/members or more and allows it to give a member away" * large]


def _utility(measured: UtilityMetrics | None) -> list[str]:
    parts = []
    spaces = [space for space in (measured, measured.inception) if space] if measured else []
    for space in spaces:
        assert measured
        text = f"{heading(space.space)} ({space.space}) {space.distance:.4g}"
        parts.append(f"{text} (n {measured.n}, null {space.null:.2g})")
        if space.kid is not None:
            parts.append(f"{kernel_heading(space.space)} {space.kid:.3g}")
    return parts


def _cost(record: Record) -> list[str]:
    parts = []
    if record.cost:
        vjps = f" + {record.cost.vjps:.0f} vjps" if record.cost.vjps else ""
        parts.append(f"{record.cost.forwards:.0f} forwards{vjps} per sample")
    return [*parts, f"{record.seconds:.1f} s (+ {record.model.seconds or 0:.0f} s training)"]
