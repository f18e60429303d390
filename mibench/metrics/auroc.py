"""The area under the ROC curve: estimate, intervals and tests. Arguments and errors: see `mibench.metrics.scores`."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from mibench.metrics.scores import check_fraction, checked, wins_and_half_ties

__all__ = ["auroc", "auroc_interval", "auroc_score_interval", "null_distance", "paired_test", "shuffled_auroc"]


def auroc(members: ArrayLike, nonmembers: ArrayLike) -> float:
    """P(m > n) + P(m = n) / 2, from ranks. Swapping the two arguments gives exactly one minus the value."""
    members, nonmembers = checked(members, nonmembers)
    wins = int(wins_and_half_ties(np.sort(members), np.sort(nonmembers)).sum())
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
    """
    members, nonmembers = checked(members, nonmembers)
    check_fraction("level", level)
    members, nonmembers = np.sort(members), np.sort(nonmembers)
    m, n = members.size, nonmembers.size
    member_wins = wins_and_half_ties(members, nonmembers) / (2 * n)
    nonmember_losses = 1 - wins_and_half_ties(nonmembers, members) / (2 * m)
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
    """
    from scipy.optimize import brentq  # here, as it takes a third of a second and most commands never need it

    members, nonmembers = checked(members, nonmembers)
    check_fraction("level", level)
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
    """
    members, nonmembers = checked(members, nonmembers)
    m, n = members.size, nonmembers.size
    _, ties = np.unique(np.concatenate([members, nonmembers]), return_counts=True)
    total = m + n
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (total * (total - 1))
    variance = (total + 1 - tied) / (12 * m * n)
    return (auroc(members, nonmembers) - 0.5) / math.sqrt(variance) if variance > 0 else 0.0


def shuffled_auroc(members: ArrayLike, nonmembers: ArrayLike, seed: int) -> float:
    """AUROC with the labels permuted at random by a seed: a control that must lie near one half."""
    members, nonmembers = checked(members, nonmembers)
    pooled = np.random.default_rng(seed).permutation(np.concatenate([members, nonmembers]))
    return auroc(pooled[: members.size], pooled[members.size :])


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

    Returns:
        The difference of the AUROCs, first minus second; its interval; and the two-sided p-value, below 1 - `level`
        exactly where the interval excludes 0.
    """
    members_a, nonmembers_a = checked(members_a, nonmembers_a)
    members_b, nonmembers_b = checked(members_b, nonmembers_b)
    check_fraction("level", level)
    m, n = members_a.size, nonmembers_a.size
    if (m, n) != (members_b.size, nonmembers_b.size):
        raise ValueError(
            f"both scorings need the same samples, got {m} v {n} and {members_b.size} v {nonmembers_b.size}"
        )
    if min(m, n) < 2:
        raise ValueError(f"a paired test needs at least two members and two non-members, got {m} v {n}")
    by_member = wins_and_half_ties(members_a, np.sort(nonmembers_a)) - wins_and_half_ties(
        members_b, np.sort(nonmembers_b)
    )
    by_nonmember = wins_and_half_ties(nonmembers_b, np.sort(members_b)) - wins_and_half_ties(
        nonmembers_a, np.sort(members_a)
    )
    difference = int(by_member.sum()) / (2 * m * n)
    if np.ptp(by_member) == 0 and np.ptp(by_nonmember) == 0:
        by_member, by_nonmember = np.append(by_member, [-2 * n, 2 * n]), np.append(by_nonmember, [-2 * m, 2 * m])
    error = math.sqrt((by_member / (2 * n)).var(ddof=1) / m + (by_nonmember / (2 * m)).var(ddof=1) / n)
    half_width = NormalDist().inv_cdf((1 + level) / 2) * error
    p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    return difference, (max(difference - half_width, -1.0), min(difference + half_width, 1.0)), p_value


def _expit(x: float) -> float:
    """1 / (1 + e⁻ˣ). scipy.special.expit differs by 2e-16, which would move stored limits, and takes .3 s to import."""
    return (1 + math.tanh(x / 2)) / 2
