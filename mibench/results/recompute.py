"""The figures of an attack at one setting, from its scores or from the ranks and counts that a record stores of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mibench.metrics.auroc import auroc, auroc_interval
from mibench.metrics.thresholds import balanced_accuracy_interval, epsilon_lower_bound, tpr_at_fpr, tpr_interval
from mibench.results.figures import AttackMetrics, AuditMetrics, Estimate, Setting, Threshold, audit_bound

__all__ = ["audit_differences", "counts_above", "differences", "setting_figures", "threshold_figures"]

FPRS = (0.1, 0.01, 0.001)
TOLERANCE = 1e-12
Values = NDArray[np.float64] | NDArray[np.int64]


def setting_figures(name: str, members: Values, nonmembers: Values, above: tuple[int, int]) -> Setting:
    """All figures at one setting. Ranks give the same as the scores that they are of.

    Args:
        name: of the setting.
        members, nonmembers: scores or ranks on the evaluation split, (m,) and (n,).
        above: how many members and how many non-members lie above the threshold chosen on the calibration split.
    """
    return Setting(
        setting=name,
        auroc=Estimate(value=auroc(members, nonmembers), interval=auroc_interval(members, nonmembers)),
        tpr={f"{fpr:g}": _tpr(members, nonmembers, fpr) for fpr in FPRS},
        fixed=threshold_figures(above, len(members), len(nonmembers)),
    )


@functools.cache
def threshold_figures(above: tuple[int, int], m: int, n: int) -> Threshold:
    """The figures at a threshold that so many of m members and of n non-members lie above."""
    tpr, fpr = above[0] / m, above[1] / n
    sides = np.arange(m) < above[0], np.arange(n) < above[1]  # any scores with these counts above .5
    accuracy = Estimate(value=(1 + tpr - fpr) / 2, interval=balanced_accuracy_interval(*sides, 0.5))
    return Threshold(accuracy=accuracy, tpr=tpr, fpr=fpr, epsilon=epsilon_lower_bound(*sides, 0.5))


def counts_above(tpr: float, fpr: float, m: int, n: int) -> tuple[int, int]:
    """How many of m members and of n non-members lie above a threshold with these rates."""
    return round(tpr * m), round(fpr * n)


def _tpr(members: Values, nonmembers: Values, fpr: float) -> Estimate:
    value = tpr_at_fpr(members, nonmembers, fpr)
    if value is None:
        return Estimate(value=None, reason=f"{len(nonmembers)} non-members; {round(10 / fpr)} are needed")
    return Estimate(value=value, interval=tpr_interval(members, nonmembers, fpr))


def differences(stored: AttackMetrics) -> Iterator[str]:
    """One line for each stored figure that does not follow from the record's own ranks, counts and AUROCs of settings."""
    choices = {"published": stored.published, "calibrated": stored.calibrated, "oracle": stored.oracle}
    for column, name in enumerate(("calibrated", "oracle")):
        areas = {setting: pair[column] for setting, pair in stored.settings.items()}
        if choices[name].setting != max(sorted(areas), key=lambda setting: areas[setting]):
            yield f"{name} {choices[name].setting} is not the setting with the largest AUROC there"
    for name, chosen in choices.items():
        if chosen.setting not in stored.settings:
            yield f"{name} {chosen.setting} is none of its settings"
        elif not _same(chosen.auroc.value, stored.settings[chosen.setting][1]):
            yield f"{name} AUROC is not that of its setting {chosen.setting}"
        for figure in _wrong_at_threshold(chosen.fixed, stored.members, stored.nonmembers):
            yield f"{name} {figure} does not follow from its rates"
    try:
        for figure in _wrong_by_ranks(stored.calibrated, *stored.ranked()):
            yield f"its ranks do not give its calibrated {figure}"
    except ValueError:
        yield f"its ranks are not those of {stored.members} members and {stored.nonmembers} non-members"


def audit_differences(stored: AuditMetrics) -> Iterator[str]:
    """One line where the stored counts of an audit are impossible, or where its ε does not follow from them."""
    if not 0 <= stored.correct <= stored.guesses <= stored.canaries:
        yield f"{stored.correct} right guesses of {stored.guesses} on {stored.canaries} canaries are impossible"
    elif abs(audit_bound([stored]) - stored.epsilon) > TOLERANCE:
        yield "ε of the audit does not follow from its guesses"


def _wrong_at_threshold(stored: Threshold, m: int, n: int) -> Iterator[str]:
    """The figures at the calibrated threshold that do not follow from its rates."""
    right = threshold_figures(counts_above(stored.tpr, stored.fpr, m, n), m, n)
    if not (_same(stored.tpr, right.tpr) and _same(stored.fpr, right.fpr)):
        yield "count of samples above the threshold"
        return
    yield from _unlike("accuracy", right.accuracy, stored.accuracy)
    if not _same(right.epsilon, stored.epsilon):
        yield "ε"


def _wrong_by_ranks(stored: Setting, members: Values, nonmembers: Values) -> Iterator[str]:
    """The figures at the calibrated setting that its ranks do not give."""
    area = Estimate(value=auroc(members, nonmembers), interval=auroc_interval(members, nonmembers))
    yield from _unlike("AUROC", area, stored.auroc)
    for fpr, estimate in stored.tpr.items():
        yield from _unlike(f"TPR@FPR={fpr}", _tpr(members, nonmembers, float(fpr)), estimate)
    thresholds = np.append(np.unique(np.concatenate([members, nonmembers])), -1)
    above = [len(side) - np.sort(side).searchsorted(thresholds, side="right") for side in (members, nonmembers)]
    wanted = counts_above(stored.fixed.tpr, stored.fixed.fpr, len(members), len(nonmembers))
    if not ((above[0] == wanted[0]) & (above[1] == wanted[1])).any():
        yield "TPR and FPR at any one threshold"


def _unlike(name: str, right: Estimate, stored: Estimate) -> Iterator[str]:
    if not _same(right.value, stored.value):
        yield name
    elif not _same_interval(right.interval, stored.interval):
        yield f"interval of the {name}"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE


def _same_interval(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return _same(one[0], other[0]) and _same(one[1], other[1])
