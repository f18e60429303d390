"""What a record says of an attack, computed again from the ranks and counts that it holds."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from mibench.metrics.membership import (
    Counts,
    auroc,
    auroc_interval,
    balanced_accuracy_interval,
    epsilon_lower_bound,
    tpr_at_fpr,
    tpr_interval,
)
from mibench.results.figures import AttackMetrics, Estimate, Setting

__all__ = ["differences"]

TOLERANCE = 1e-12


def differences(told: AttackMetrics) -> Iterator[str]:
    """One line for each figure that is not what the record's own ranks, counts and table of settings give."""
    for column, (name, chosen) in enumerate((("calibrated", told.calibrated), ("oracle", told.oracle))):
        areas = {setting: pair[column] for setting, pair in told.settings.items()}
        if chosen.setting != max(sorted(areas), key=lambda setting: areas[setting]):
            yield f"{name} {chosen.setting} is not the setting with the largest AUROC there"
    for name, chosen in (("published", told.published), ("calibrated", told.calibrated), ("oracle", told.oracle)):
        if chosen.setting not in told.settings:
            yield f"{name} {chosen.setting} is none of its settings"
        elif not _same(chosen.auroc.value, told.settings[chosen.setting][1]):
            yield f"{name} AUROC is not that of its setting {chosen.setting}"
        yield from (f"{name} {what} does not follow from its rates" for what in _at_threshold(chosen, told))
    try:
        ranked = told.ranked()
        if tuple(map(len, ranked)) != (told.members, told.nonmembers):
            raise ValueError("their number is another")
        wrong = [*_of_ranks(*ranked, told.calibrated)]
    except ValueError:
        yield f"its ranks are not those of {told.members} members and {told.nonmembers} non-members"
    else:
        yield from (f"its ranks do not give its calibrated {what}" for what in wrong)


def _of_ranks(members: Counts, nonmembers: Counts, told: Setting) -> Iterator[str]:
    """What the ranks do not give."""
    area = Estimate(value=auroc(members, nonmembers), interval=auroc_interval(members, nonmembers))
    yield from _unlike("AUROC", area, told.auroc)
    for fpr, estimate in told.tpr.items():
        found = tpr_at_fpr(members, nonmembers, float(fpr)), tpr_interval(members, nonmembers, float(fpr))
        yield from _unlike(f"TPR@FPR={fpr}", Estimate(value=found[0], interval=found[1]), estimate)
    above = round(told.fixed.tpr * len(members)), round(told.fixed.fpr * len(nonmembers))
    thresholds = np.append(np.unique(np.concatenate([members, nonmembers])), -1)
    counts = ((len(side) - np.sort(side).searchsorted(thresholds, side="right")) for side in (members, nonmembers))
    if not np.logical_and(*(count == wanted for count, wanted in zip(counts, above, strict=True))).any():
        yield "TPR and FPR at any one threshold"


def _at_threshold(told: Setting, sizes: AttackMetrics) -> Iterator[str]:
    """What the rates at the calibrated threshold do not give."""
    fixed = told.fixed
    above = round(fixed.tpr * sizes.members), round(fixed.fpr * sizes.nonmembers)
    if not (_same(fixed.tpr, above[0] / sizes.members) and _same(fixed.fpr, above[1] / sizes.nonmembers)):
        yield "count of samples above the threshold"
        return
    interval, epsilon = _bounds(above[0], sizes.members, above[1], sizes.nonmembers)
    accuracy = Estimate(value=(1 + fixed.tpr - fixed.fpr) / 2, interval=interval)
    yield from _unlike("accuracy", accuracy, fixed.accuracy)
    if not _same(epsilon, fixed.epsilon):
        yield "ε"


@functools.cache
def _bounds(true_positives: int, m: int, false_positives: int, n: int) -> tuple[tuple[float, float], float]:
    """The interval of the accuracy and the bound on ε, of so many members and non-members above a threshold."""
    sides = np.arange(m) < true_positives, np.arange(n) < false_positives
    return balanced_accuracy_interval(*sides, 0.5), epsilon_lower_bound(*sides, 0.5)


def _unlike(name: str, found: Estimate, told: Estimate) -> Iterator[str]:
    if not _same(found.value, told.value):
        yield name
    elif (found.interval is None) != (told.interval is None) or not all(
        map(_same, found.interval or (), told.interval or ())
    ):
        yield f"interval of the {name}"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE
