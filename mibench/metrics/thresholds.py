"""Rates at a threshold, and how thresholds are chosen. Arguments and errors: see `mibench.metrics.scores`.

A score strictly larger than the threshold is called a member's. The intervals at a given threshold and the bound on epsilon hold
for a threshold that was not chosen on the scores they are given: choose it on calibration scores.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mibench.metrics.scores import check_fraction, checked

__all__ = [
    "at_threshold",
    "balanced_accuracy_interval",
    "balanced_accuracy_threshold",
    "epsilon_lower_bound",
    "tpr_at_fpr",
    "tpr_interval",
]

MIN_FALSE_POSITIVES = 10
"""A TPR is reported only where the FPR allows at least this many false positives."""


def tpr_at_fpr(members: ArrayLike, nonmembers: ArrayLike, fpr: float) -> float | None:
    """Largest true positive rate over all thresholds whose empirical false positive rate is at most `fpr`.

    No interpolation: equal scores always fall on the same side of the threshold.

    Returns:
        The rate, or None where there are fewer than 10 / fpr non-members.
    """
    members, nonmembers = checked(members, nonmembers)
    allowed = _allowed_false_positives(fpr, nonmembers.size)
    if allowed < MIN_FALSE_POSITIVES:
        return None
    threshold = np.sort(nonmembers)[-1 - allowed]
    return float(np.mean(members > threshold))


def tpr_interval(
    members: ArrayLike, nonmembers: ArrayLike, fpr: float, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Confidence interval of `tpr_at_fpr` from a stratified bootstrap that re-estimates the threshold.

    A resample draws the non-members anew, which moves the threshold, and then the rate of the members above it.
    Redrawing the members themselves would give no noise at a rate of 0 or 1, so with `k` of the `m` members
    above the threshold the rate is drawn from Beta(k + 1/2, m - k + 1/2), Jeffreys' posterior of a proportion.
    The interval lies between the quantiles of these rates, and always contains the estimate.

    The threshold of a resample is an order statistic of non-members drawn with replacement. Its place among the
    sorted non-members follows, exactly, from one draw of the same order statistic of uniform variables, a beta.

    Args:
        resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        The lower and upper limit, or None where there are fewer than 10 / fpr non-members.
    """
    members, nonmembers = checked(members, nonmembers)
    check_fraction("level", level)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    m, n = members.size, nonmembers.size
    allowed = _allowed_false_positives(fpr, n)
    if allowed < MIN_FALSE_POSITIVES:
        return None
    descending = np.sort(nonmembers)[::-1]
    above = m - np.searchsorted(np.sort(members), descending, side="right")  # members above each possible threshold
    rng = np.random.default_rng(seed)
    places = np.minimum((n * rng.beta(allowed + 1, n - allowed, size=resamples)).astype(np.int64), n - 1)
    rates = rng.beta(above[places] + 0.5, m - above[places] + 0.5)
    lower, upper = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(above[allowed]) / m
    return min(float(lower), estimate), max(float(upper), estimate)


def balanced_accuracy_threshold(members: ArrayLike, nonmembers: ArrayLike) -> float:
    """Threshold with the largest balanced accuracy on calibration scores, the smallest one among equals.

    The candidates are the midpoints between adjacent distinct scores, and minus and plus infinity.
    """
    members, nonmembers = checked(members, nonmembers)
    m, n = members.size, nonmembers.size
    values = np.unique(np.concatenate([members, nonmembers]))
    true_positives = m - np.sort(members).searchsorted(values, side="right")
    false_positives = n - np.sort(nonmembers).searchsorted(values, side="right")
    gain = n * true_positives - m * false_positives  # of the threshold just above each value
    best = int(gain.argmax())
    if gain[best] <= 0:
        return -math.inf
    lower, upper = float(values[best]), float(values[best + 1])
    midpoint = lower / 2 + upper / 2
    return midpoint if midpoint < upper else lower  # between neighbouring floats the midpoint may round up


def at_threshold(members: ArrayLike, nonmembers: ArrayLike, threshold: float) -> tuple[float, float]:
    """True and false positive rate at a threshold; the balanced accuracy is (1 + TPR - FPR) / 2.

    Args:
        threshold: a score above it is called a member's; may be infinite.
    """
    true_positives, m, false_positives, n = _positives(members, nonmembers, threshold)
    return true_positives / m, false_positives / n


def balanced_accuracy_interval(
    members: ArrayLike, nonmembers: ArrayLike, threshold: float, level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of the balanced accuracy at a threshold fixed on other scores.

    Newcombe's hybrid for a difference of two proportions, TPR - FPR, from Jeffreys' interval of each: the distances
    from each rate to its limits add up as squares. The interval always contains the estimate. For AUROCs from .5 to
    .99, at 80 v 320 and 160 v 160, its exact coverage lies between 94 and 95.5 %; Clopper-Pearson intervals combined
    in the same way cover up to 97.3 %, Wilson's as little as 93.9 %.

    Sources: Newcombe, Statistics in Medicine 17 (1998), method 10; Brown, Cai and DasGupta, Statistical Science 16
    (2001) for Jeffreys' interval.

    Args:
        threshold: a score above it is called a member's; may be infinite.
    """
    check_fraction("level", level)
    true_positives, m, false_positives, n = _positives(members, nonmembers, threshold)
    tpr, fpr = true_positives / m, false_positives / n
    tpr_low, tpr_high = _jeffreys(true_positives, m, level)
    fpr_low, fpr_high = _jeffreys(false_positives, n, level)
    lower = tpr - fpr - math.hypot(tpr - tpr_low, fpr_high - fpr)
    upper = tpr - fpr + math.hypot(tpr_high - tpr, fpr - fpr_low)
    return (1 + lower) / 2, (1 + upper) / 2


def epsilon_lower_bound(
    members: ArrayLike,
    nonmembers: ArrayLike,
    threshold: float,
    delta: float = 0.0,
    level: float = 0.95,
    exchanged: bool = False,
) -> float:
    """Lower confidence bound on the epsilon of (epsilon, delta)-differential privacy, never below 0.

    Privacy implies TPR <= exp(epsilon) FPR + delta, and the same of the rates of calling a score a non-member's,
    TNR <= exp(epsilon) FNR + delta. Both directions need only a lower bound on the TPR and an upper bound on the
    FPR (TNR = 1 - FPR, FNR = 1 - TPR): two one-sided Clopper-Pearson bounds, each at level (1 + level) / 2, hold
    together at `level`.

    Where a fixed number of samples is trained on, a non-member differs from a member by an exchange: another sample was
    trained on in its place. A guarantee for adding or removing a sample, applied to both in turn, then gives
    TPR <= exp(2 epsilon) FPR + (1 + exp(epsilon)) delta.

    The bounds take the scores for independent. Those of one trained model share its training. That alone breaks no pure
    guarantee: given the rest of the members, each sample's odds of being one rise at most by its factor (Steinke, Nasr and
    Jagielski, arXiv:2305.08846), and in the worst case that this allows the bound errs more rarely than it may (see the
    tests). With delta > 0 it holds so only where samples x delta is far below 1 - level.

    Sources: Jagielski, Ullman and Oprea, arXiv:2006.07709; Nasr et al., arXiv:2101.04535.

    Args:
        threshold: a score above it is called a member's; may be infinite.
        delta: the delta of the guarantee, in [0, 1).
        exchanged: whether the guarantee is one for adding or removing a sample; else it is one for exchanging a sample.
    """
    check_fraction("level", level)
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in [0, 1), got {delta}")
    true_positives, m, false_positives, n = _positives(members, nonmembers, threshold)
    tail = (1 - level) / 2
    tpr = _beta_quantile(tail, true_positives, m - true_positives + 1)
    fpr = _beta_quantile(1 - tail, false_positives + 1, n - false_positives)
    step = _double_step if exchanged else _step
    return math.log(max(1.0, step(tpr, fpr, delta), step(1 - fpr, 1 - tpr, delta)))


def _step(likely: float, unlikely: float, delta: float) -> float:
    """The e^epsilon at which likely = e^epsilon unlikely + delta; the least that allows these probabilities of one event."""
    return (likely - delta) / unlikely


def _double_step(likely: float, unlikely: float, delta: float) -> float:
    """The e^epsilon at which likely = e^(2 epsilon) unlikely + (1 + e^epsilon) delta, 0 where delta alone is enough."""
    more = max(0.0, likely - delta)
    return 2 * more / (delta + math.sqrt(delta**2 + 4 * unlikely * more)) if more else 0.0


def _positives(members: ArrayLike, nonmembers: ArrayLike, threshold: float) -> tuple[int, int, int, int]:
    """Members above the threshold, of how many, and non-members above it, of how many."""
    members, nonmembers = checked(members, nonmembers)
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, got nan")
    above, false_alarms = np.count_nonzero(members > threshold), np.count_nonzero(nonmembers > threshold)
    return int(above), members.size, int(false_alarms), nonmembers.size


def _jeffreys(count: int, size: int, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    lower = 0.0 if count == 0 else _beta_quantile(tail, count + 0.5, size - count + 0.5)
    upper = 1.0 if count == size else _beta_quantile(1 - tail, count + 0.5, size - count + 0.5)
    # where nearly all of the posterior lies on one side of the rate (one success, a low level), the rate is the limit
    return min(lower, count / size), max(upper, count / size)


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Quantile of Beta(a, b), which is concentrated at 0 for a = 0 and at 1 for b = 0.

    Clopper and Pearson's limits are such quantiles. scipy.stats.binomtest finds them by bisection: it takes 1.2 s to import
    and moves epsilon by up to 5e-11 of its value, more than records are checked to.
    """
    from scipy.special import betaincinv  # here, as it takes a third of a second and most commands never need it

    return float(b == 0) if a == 0 or b == 0 else float(betaincinv(a, b, probability))


def _allowed_false_positives(fpr: float, nonmembers: int) -> int:
    """Largest count of false positives within `fpr`; the factor keeps 0.29 of 100 at 29."""
    check_fraction("fpr", fpr)
    return min(math.floor(fpr * nonmembers * (1 + 1e-12)), nonmembers - 1)
