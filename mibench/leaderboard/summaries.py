"""Means over seeds, their intervals, and the AUROC at a given distance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mibench.metrics.auroc import auroc_score_interval, paired_test
from mibench.results.figures import AttackMetrics

__all__ = ["Difference", "Spread", "TrainingCurve", "matched", "mean_difference", "mean_interval", "paired_mean"]

TrainingCurve = list[tuple[int, float, float]]
"""Step (0 for the end), mean distance and worst known AUROC at each checkpoint, in the order of training."""


@dataclass(frozen=True)
class Spread:
    """A figure of several seeds."""

    values: tuple[float, ...]

    @cached_property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @cached_property
    def sd(self) -> float | None:
        """Their sample standard deviation, None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """How much larger a figure of one defense is than that of another: mean over the same seeds, with its interval."""

    mean: float
    interval: tuple[float, float]


def mean_interval(metrics: Sequence[AttackMetrics], level: float) -> tuple[float, float]:
    """The interval of the mean AUROC over models that were trained and attacked independently."""
    areas = [m.calibrated.auroc.value or 0.0 for m in metrics]
    return _mean_of_intervals(areas, [auroc_score_interval(*m.ranked(), level=level) for m in metrics])


def mean_difference(pairs: Sequence[tuple[AttackMetrics, AttackMetrics]], level: float = 0.95) -> Difference:
    """How much larger the mean AUROC of the first is than that of the second, each pair on the same samples."""
    tests = [paired_test(*one.ranked(), *other.ranked(), level=level) for one, other in pairs]
    means = [test[0] for test in tests]
    return Difference(statistics.fmean(means), _mean_of_intervals(means, [test[1] for test in tests]))


def paired_mean(differences: Sequence[float], level: float) -> Difference:
    """The mean of the differences at two seeds or more, with Student's interval of a paired test."""
    from scipy.special import stdtrit  # here, as it takes a third of a second and most commands never need it

    mean, n = statistics.fmean(differences), len(differences)
    half_width = float(stdtrit(n - 1, (1 + level) / 2)) * statistics.stdev(differences) / math.sqrt(n)
    return Difference(mean, (mean - half_width, mean + half_width))


def _mean_of_intervals(means: list[float], intervals: list[tuple[float, float]]) -> tuple[float, float]:
    """The interval of a mean of independent estimates: distances to the limits add up as squares (Newcombe 1998)."""
    centre = statistics.fmean(means)
    below, above = (
        math.sqrt(sum((m - limits[side]) ** 2 for m, limits in zip(means, intervals, strict=True))) / len(means)
        for side in (0, 1)
    )
    return centre - below, centre + above


def matched(curve: TrainingCurve, distance: float) -> float | None:
    """The AUROC where a training first reaches this distance, linear between checkpoints; None if it never does."""
    before: tuple[float, float] | None = None
    for _, here, area in curve:
        if here <= distance:
            if before is None:
                return area
            share = (before[0] - distance) / (before[0] - here)
            return before[1] + share * (area - before[1])
        before = (here, area)
    return None
