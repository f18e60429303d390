"""What all measures of scores share.

Every measure takes the scores of the members, shape (m,), and of the non-members, shape (n,), where a larger score means "more
likely a member". It raises ValueError where an array is empty, not one-dimensional or not finite, and where a level, an FPR or
another argument is outside its range. Simulated coverage of the intervals is guarded by the tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Counts", "Scores", "check_fraction", "checked", "ranks", "wins_and_half_ties"]

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]


def checked(members: ArrayLike, nonmembers: ArrayLike) -> tuple[Scores, Scores]:
    """Both as arrays; ValueError where one is empty, not one-dimensional or not finite."""
    arrays = np.asarray(members, dtype=np.float64), np.asarray(nonmembers, dtype=np.float64)
    for name, scores in zip(("members", "nonmembers"), arrays, strict=True):
        if scores.ndim != 1:
            raise ValueError(f"{name} must be one-dimensional, got shape {scores.shape}")
        if scores.size == 0:
            raise ValueError(f"{name} must not be empty")
        if not np.isfinite(scores).all():
            raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(scores))} non-finite scores")
    return arrays


def check_fraction(name: str, value: float) -> None:
    """ValueError unless the value is between 0 and 1, both excluded."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")


def wins_and_half_ties(scores: Scores, sorted_others: Scores) -> Counts:
    """For each score, twice the number of smaller others plus the number of equal ones."""
    return sorted_others.searchsorted(scores, side="left") + sorted_others.searchsorted(scores, side="right")


def ranks(members: ArrayLike, nonmembers: ArrayLike) -> tuple[Counts, Counts]:
    """Dense ranks of the pooled scores, from 0, equal where the scores are equal: those of members (m,), of non-members (n,).

    Every AUROC, rate, interval and test depends on the order of the scores only. It is exactly the same for the ranks, at the
    rank of a threshold.
    """
    members, nonmembers = checked(members, nonmembers)
    pooled = np.unique(np.concatenate([members, nonmembers]), return_inverse=True)[1].astype(np.int64)
    return pooled[: members.size], pooled[members.size :]
