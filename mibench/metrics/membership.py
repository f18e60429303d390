"""How well scores separate members from non-members, with intervals.

Every function takes two one-dimensional arrays of scores, where a larger score means "more likely a member".
A threshold calls a score a member's where the score is strictly larger. The intervals at a threshold and the bound
on epsilon hold for a threshold that was not chosen on the scores they are given (fix it on calibration scores).
Simulated coverage of the intervals is guarded by ``tests/metrics/test_membership.py``.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]

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
    members, nonmembers = np.sort(members), np.sort(nonmembers)
    m, n = members.size, nonmembers.size
    member_wins = _wins_and_half_ties(members, nonmembers) / (2 * n)
    nonmember_losses = 1 - _wins_and_half_ties(nonmembers, members) / (2 * m)
    member_wins, nonmember_losses = np.append(member_wins, 0.5), np.append(nonmember_losses, 0.5)
    centre = float(member_wins.mean() + nonmember_losses.mean()) / 2
    variance = float(member_wins.var(ddof=1) / m + nonmember_losses.var(ddof=1) / n)
    logit = math.log(centre / (1 - centre))
    half_width = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance) / (centre * (1 - centre))
    estimate = auroc(members, nonmembers)
    return min(_expit(logit - half_width), estimate), max(_expit(logit + half_width), estimate)


def auroc_score_interval(members: ArrayLike, nonmembers: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the AUROC that holds at any level and near 0 and 1: all θ with (A - θ)² <= z² V(θ).

    V is the variance of the estimate under the true area θ, so that an AUROC of 1 is far from every θ that would rarely
    give it, however high the level (`auroc_interval` inverts an estimated variance and falls apart there).

    Source: Newcombe, Statistics in Medicine 25 (2006), part 2, method 5, after Hanley and McNeil, Radiology 143 (1982).

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        level: confidence level, in (0, 1).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, or the level is outside (0, 1).
    """
    from scipy.optimize import brentq  # here, as it takes a third of a second and most commands never need it

    members, nonmembers = _checked(members, nonmembers)
    _check_fraction("level", level)
    m, n = members.size, nonmembers.size
    area, z = auroc(members, nonmembers), NormalDist().inv_cdf((1 + level) / 2)

    def excess(theta: float) -> float:
        more = (m + n) / 2 - 1
        variance = theta * (1 - theta) * (1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        return (area - theta) ** 2 - z**2 * variance

    # excess is at least 0 at 0 and 1, below 0 at the area, unless that is one of them
    low = 0.0 if area == 0 else float(brentq(excess, 0.0, area if area < 1 else 1 - 1e-12))
    high = 1.0 if area == 1 else float(brentq(excess, area if area > 0 else 1e-12, 1.0))
    return low, high


def null_distance(members: ArrayLike, nonmembers: ArrayLike) -> float:
    """How many standard deviations the AUROC is from one half, where nothing tells members from non-members.

    The Mann-Whitney variance under the null, (m + n + 1) / (12 m n), with the correction for ties.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite.
    """
    members, nonmembers = _checked(members, nonmembers)
    m, n = members.size, nonmembers.size
    _, ties = np.unique(np.concatenate([members, nonmembers]), return_counts=True)
    total = m + n
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (total * (total - 1))
    variance = (total + 1 - tied) / (12 * m * n)
    return (auroc(members, nonmembers) - 0.5) / math.sqrt(variance) if variance > 0 else 0.0


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


def balanced_accuracy_threshold(members: ArrayLike, nonmembers: ArrayLike) -> float:
    """Threshold with the largest balanced accuracy on calibration scores, the smallest one among equals.

    The candidates are the midpoints between adjacent distinct scores, and minus and plus infinity.

    Args:
        members: calibration scores of the members, shape (m,).
        nonmembers: calibration scores of the non-members, shape (n,).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite.
    """
    members, nonmembers = _checked(members, nonmembers)
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
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        threshold: a score above it is called a member's; may be infinite.

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, or the threshold is not a number.
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
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        threshold: a score above it is called a member's; may be infinite.
        level: confidence level, in (0, 1).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, the threshold is not a number, or the level
            is outside (0, 1).
    """
    _check_fraction("level", level)
    true_positives, m, false_positives, n = _positives(members, nonmembers, threshold)
    tpr, fpr = true_positives / m, false_positives / n
    tpr_low, tpr_high = _jeffreys(true_positives, m, level)
    fpr_low, fpr_high = _jeffreys(false_positives, n, level)
    lower = tpr - fpr - math.hypot(tpr - tpr_low, fpr_high - fpr)
    upper = tpr - fpr + math.hypot(tpr_high - tpr, fpr - fpr_low)
    return (1 + lower) / 2, (1 + upper) / 2


def epsilon_lower_bound(
    members: ArrayLike, nonmembers: ArrayLike, threshold: float, delta: float = 0.0, level: float = 0.95
) -> float:
    """Lower confidence bound on the epsilon of (epsilon, delta)-differential privacy, never below 0.

    Privacy implies TPR <= exp(epsilon) FPR + delta, and the same of the rates of calling a score a non-member's,
    TNR <= exp(epsilon) FNR + delta. Both directions need only a lower bound on the TPR and an upper bound on the
    FPR (TNR = 1 - FPR, FNR = 1 - TPR): two one-sided Clopper-Pearson bounds, each at level (1 + level) / 2, hold
    together at `level`.

    The bounds take the scores for independent. Those of one trained model share its training: there the value is an
    empirical estimate beside a claimed epsilon, not an audit (Steinke, Nasr and Jagielski, arXiv:2305.08846).

    Sources: Jagielski, Ullman and Oprea, arXiv:2006.07709; Nasr et al., arXiv:2101.04535.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        threshold: a score above it is called a member's; may be infinite.
        delta: the delta of the guarantee, in [0, 1).
        level: confidence level, in (0, 1).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, the threshold is not a number, delta is
            outside [0, 1), or the level is outside (0, 1).
    """
    _check_fraction("level", level)
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in [0, 1), got {delta}")
    true_positives, m, false_positives, n = _positives(members, nonmembers, threshold)
    tail = (1 - level) / 2
    tpr = _beta_quantile(tail, true_positives, m - true_positives + 1)
    fpr = _beta_quantile(1 - tail, false_positives + 1, n - false_positives)
    return math.log(max(1.0, (tpr - delta) / fpr, (1 - fpr - delta) / (1 - tpr)))


def paired_test(
    members_a: ArrayLike,
    nonmembers_a: ArrayLike,
    members_b: ArrayLike,
    nonmembers_b: ArrayLike,
    level: float = 0.95,
) -> tuple[float, tuple[float, float], float]:
    """DeLong's paired test of two AUROCs on the same samples, in the same order: two attacks, or two defenses.

    The difference is compared with its standard error, from how differently each sample wins in the two scorings
    (ties count half). Where no sample does, as where both AUROCs are 1, that error would be zero: then each side gets
    two pseudo-samples, one won only by `a` and one won only by `b`, so that the interval keeps a width near that of
    the rule of three.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).

    Args:
        members_a: scores of the members in the first scoring, shape (m,).
        nonmembers_a: scores of the non-members in the first scoring, shape (n,).
        members_b: scores of the same members in the second scoring, shape (m,).
        nonmembers_b: scores of the same non-members in the second scoring, shape (n,).
        level: confidence level of the interval, in (0, 1).

    Returns:
        The difference of the AUROCs, first minus second; its interval; and the two-sided p-value, below 1 - `level`
        exactly where the interval excludes 0.

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite, the scorings differ in shape, there are
            fewer than two members or non-members, or the level is outside (0, 1).
    """
    members_a, nonmembers_a = _checked(members_a, nonmembers_a)
    members_b, nonmembers_b = _checked(members_b, nonmembers_b)
    _check_fraction("level", level)
    m, n = members_a.size, nonmembers_a.size
    if (m, n) != (members_b.size, nonmembers_b.size):
        raise ValueError(
            f"both scorings need the same samples, got {m} v {n} and {members_b.size} v {nonmembers_b.size}"
        )
    if min(m, n) < 2:
        raise ValueError(f"a paired test needs at least two members and two non-members, got {m} v {n}")
    by_member = _wins_and_half_ties(members_a, np.sort(nonmembers_a)) - _wins_and_half_ties(
        members_b, np.sort(nonmembers_b)
    )
    by_nonmember = _wins_and_half_ties(nonmembers_b, np.sort(members_b)) - _wins_and_half_ties(
        nonmembers_a, np.sort(members_a)
    )
    difference = int(by_member.sum()) / (2 * m * n)
    if np.ptp(by_member) == 0 and np.ptp(by_nonmember) == 0:
        by_member, by_nonmember = np.append(by_member, [-2 * n, 2 * n]), np.append(by_nonmember, [-2 * m, 2 * m])
    error = math.sqrt((by_member / (2 * n)).var(ddof=1) / m + (by_nonmember / (2 * m)).var(ddof=1) / n)
    half_width = NormalDist().inv_cdf((1 + level) / 2) * error
    p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    return difference, (max(difference - half_width, -1.0), min(difference + half_width, 1.0)), p_value


def ranks(members: ArrayLike, nonmembers: ArrayLike) -> tuple[Counts, Counts]:
    """Dense ranks of the pooled scores, from 0, equal where the scores are equal.

    Whatever depends on the order of the scores only (every rate, AUROC, interval and test here, at the ranks of a
    threshold chosen on them) is exactly the same for the ranks.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).

    Returns:
        The ranks of the members, shape (m,), and of the non-members, shape (n,).

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite.
    """
    members, nonmembers = _checked(members, nonmembers)
    pooled = np.unique(np.concatenate([members, nonmembers]), return_inverse=True)[1].astype(np.int64)
    return pooled[: members.size], pooled[members.size :]


def shuffled_auroc(members: ArrayLike, nonmembers: ArrayLike, seed: int) -> float:
    """AUROC with the labels permuted at random: a control that must lie near one half.

    Args:
        members: scores of the members, shape (m,).
        nonmembers: scores of the non-members, shape (n,).
        seed: seed of the permutation.

    Raises:
        ValueError: an array is empty, not one-dimensional or not finite.
    """
    members, nonmembers = _checked(members, nonmembers)
    pooled = np.random.default_rng(seed).permutation(np.concatenate([members, nonmembers]))
    return auroc(pooled[: members.size], pooled[members.size :])


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


def _wins_and_half_ties(scores: Scores, sorted_others: Scores) -> Counts:
    """For each score, twice the number of smaller others plus the number of equal ones."""
    return sorted_others.searchsorted(scores, side="left") + sorted_others.searchsorted(scores, side="right")


def _positives(members: ArrayLike, nonmembers: ArrayLike, threshold: float) -> tuple[int, int, int, int]:
    """Members above the threshold, of how many, and non-members above it, of how many."""
    members, nonmembers = _checked(members, nonmembers)
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
    """Quantile of Beta(a, b), which is concentrated at 0 for a = 0 and at 1 for b = 0."""
    from scipy.special import betaincinv  # here, as brentq above

    return float(b == 0) if a == 0 or b == 0 else float(betaincinv(a, b, probability))


def _allowed_false_positives(fpr: float, nonmembers: int) -> int:
    """Largest count of false positives within `fpr`; the factor keeps 0.29 of 100 at 29."""
    _check_fraction("fpr", fpr)
    return min(math.floor(fpr * nonmembers * (1 + 1e-12)), nonmembers - 1)


def _expit(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2
