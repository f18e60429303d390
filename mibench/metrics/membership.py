"""How well scores separate members from non-members, with intervals.

Every function takes two one-dimensional arrays of scores, where a larger score means "more likely a member".
Simulated coverage of the intervals is guarded by ``tests/metrics/test_membership.py``.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]

_MIN_FALSE_POSITIVES = 10  # a TPR is reported only where the FPR allows at least this many false positives


def auroc(members: ArrayLike, nonmembers: ArrayLike) -> float:
    """Area under the ROC curve, P(m > n) + P(m = n) / 2, from ranks.

    Swapping the two arguments gives exactly one minus the value.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite.
    """
    members, nonmembers = _checked(members, nonmembers)
    wins = int(_wins_and_half_ties(np.sort(members), np.sort(nonmembers)).sum())
    total = 2 * members.size * nonmembers.size
    larger = max(wins, total - wins) / total
    return larger if 2 * wins >= total else 1 - larger


def auroc_interval(members: ArrayLike, nonmembers: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the AUROC: DeLong's on the logit scale, with one pseudo-score added to each sample.

    Each pseudo-score beats half of the other sample (the idea of Agresti and Coull's "plus four" interval for a
    proportion). Without it the variance is too small where the AUROC is near 0 or 1, and zero at 0 and 1
    themselves. The interval always contains the estimate. It has zero width where all scores are equal.

    Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) for the variance; Agresti and Coull,
    The American Statistician 52 (1998) for the pseudo-observations.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        level: confidence level, in (0, 1).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, or the level is outside (0, 1).
    """
    members, nonmembers = _checked(members, nonmembers)
    _check_fraction("level", level)
    m, n = members.size, nonmembers.size
    member_wins = _wins_and_half_ties(members, np.sort(nonmembers)) / (2 * n)
    nonmember_losses = 1 - _wins_and_half_ties(nonmembers, np.sort(members)) / (2 * m)
    member_wins, nonmember_losses = np.append(member_wins, 0.5), np.append(nonmember_losses, 0.5)
    centre = float(member_wins.mean() + nonmember_losses.mean()) / 2
    variance = float(member_wins.var(ddof=1) / m + nonmember_losses.var(ddof=1) / n)
    logit = math.log(centre / (1 - centre))
    half_width = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance) / (centre * (1 - centre))
    estimate = auroc(members, nonmembers)
    return min(_expit(logit - half_width), estimate), max(_expit(logit + half_width), estimate)


def tpr_at_fpr(members: ArrayLike, nonmembers: ArrayLike, fpr: float) -> float | None:
    """Largest true positive rate over all thresholds whose empirical false positive rate is at most `fpr`.

    No interpolation: equal scores always fall on the same side of the threshold.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        fpr: the largest false positive rate allowed, in (0, 1).

    Returns:
        The rate, or None where there are fewer than 10 / fpr non-members.

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, or `fpr` is outside (0, 1).
    """
    members, nonmembers = _checked(members, nonmembers)
    allowed = _allowed_false_positives(fpr, nonmembers.size)
    if allowed < _MIN_FALSE_POSITIVES:
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
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        fpr: the largest false positive rate allowed, in (0, 1).
        level: confidence level, in (0, 1).
        resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        The lower and upper limit, or None where there are fewer than 10 / fpr non-members.

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, `fpr` or the level is outside (0, 1), or
            there is not at least one resample.
    """
    members, nonmembers = _checked(members, nonmembers)
    _check_fraction("level", level)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    m, n = members.size, nonmembers.size
    allowed = _allowed_false_positives(fpr, n)
    if allowed < _MIN_FALSE_POSITIVES:
        return None
    descending = np.sort(nonmembers)[::-1]
    above = m - np.searchsorted(np.sort(members), descending, side="right")  # members above each possible threshold
    rng = np.random.default_rng(seed)
    places = np.minimum((n * rng.beta(allowed + 1, n - allowed, size=resamples)).astype(np.int64), n - 1)
    rates = rng.beta(above[places] + 0.5, m - above[places] + 0.5)
    lower, upper = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(above[allowed]) / m
    return min(float(lower), estimate), max(float(upper), estimate)


def _checked(members: ArrayLike, nonmembers: ArrayLike) -> tuple[Scores, Scores]:
    arrays = np.asarray(members, dtype=np.float64), np.asarray(nonmembers, dtype=np.float64)
    for name, scores in zip(("members", "nonmembers"), arrays, strict=True):
        if scores.ndim != 1:
            raise ValueError(f"{name} must be one-dimensional, got shape {scores.shape}")
        if scores.size == 0:
            raise ValueError(f"{name} must not be empty")
        if not np.isfinite(scores).all():
            raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(scores))} non-finite scores")
    return arrays


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")


def _wins_and_half_ties(scores: Scores, sorted_others: Scores) -> NDArray[np.int64]:
    """For each score, twice the number of smaller others plus the number of equal ones."""
    return sorted_others.searchsorted(scores, side="left") + sorted_others.searchsorted(scores, side="right")


def _allowed_false_positives(fpr: float, nonmembers: int) -> int:
    """Largest count of false positives within `fpr`; the factor keeps 0.29 of 100 at 29."""
    _check_fraction("fpr", fpr)
    return min(math.floor(fpr * nonmembers * (1 + 1e-12)), nonmembers - 1)


def _expit(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2
