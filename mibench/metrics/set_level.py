"""Set-level inference: how many samples show that a set was trained on. Arguments and errors: see `mibench.metrics.scores`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from mibench.metrics.scores import Counts, Scores, checked, wins_and_half_ties

__all__ = ["samples_needed"]

NORMAL = NormalDist()


def samples_needed(
    scorings: Iterable[tuple[ArrayLike, ArrayLike]], level: float = 0.01, power: float = 0.95
) -> tuple[int | None, int]:
    """How many members, drawn at random, and as many non-members a test needs to tell that they score higher.

    The test is Mann and Whitney's, one-sided: its outcome depends on ranks alone, which every record holds, so that it is the
    same for any monotone function of a score, and on Gaussian scores it needs 5 % more samples than Welch's. For k against k
    samples the mean and the variance of U are exact; U is taken to be normal, and ties do not narrow the null.

    Sources: Maini et al., arXiv:2104.10706, and Dubiński et al., arXiv:2411.12858 (CDI), for the question; Lehmann,
    Nonparametrics (1975), 2.3, for the variance of U.

    Args:
        scorings: scores of members and of non-members, one pair for each seed.
        level: the p-value that a test has to reach.
        power: the share of draws in which it has to, on average over the seeds.

    Returns:
        The number, None if even all evaluated samples do not suffice; and how many these are, on the smaller side.
    """
    pairs = [checked(*scoring) for scoring in scorings]
    most = min(min(len(side) for side in pair) for pair in pairs)
    k = np.arange(1, most + 1)
    reached = np.mean([_power(*pair, k, level) for pair in pairs], axis=0) >= power
    return (int(k[reached.argmax()]) if reached.any() else None), most


def _power(members: Scores, nonmembers: Scores, k: Counts, level: float) -> Scores:
    """The power of the test on k against k samples, drawn with replacement, for each k."""
    m, n = members.size, nonmembers.size
    members, nonmembers = np.sort(members), np.sort(nonmembers)
    member_wins = wins_and_half_ties(members, nonmembers) / (2 * n)
    nonmember_wins = wins_and_half_ties(nonmembers, members) / (2 * m)
    area = float(member_wins.mean())
    first, last = (nonmembers.searchsorted(members, side) for side in ("left", "right"))
    ties = float((last - first).sum()) / (m * n)
    of_pair = area - ties / 4 - area**2
    variance = (of_pair + (k - 1) * (member_wins.var() + nonmember_wins.var())) / k**2
    limit = 0.5 + NORMAL.inv_cdf(1 - level) * np.sqrt((2 * k + 1) / 12) / k
    errors = np.sqrt(2 * np.maximum(variance, 1e-300))
    return np.array([math.erfc(z) / 2 for z in (limit - area) / errors])
