"""Scores to test measures with, and what an interval must cover."""

import math
from statistics import NormalDist

import numpy as np
from hypothesis import strategies as st

tied_scores = st.lists(st.integers(-4, 4), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=float))


any_scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(np.array)


def binormal(rng, area, m, n):
    shift = np.sqrt(2) * NormalDist().inv_cdf(area)
    return rng.normal(shift, size=m), rng.normal(size=n), shift


def assert_covers(hits, repetitions, most=0.97):
    """The coverage lies within 93 and 97 %, give or take two standard errors of the simulation."""
    error = 2 * math.sqrt(0.93 * 0.07 / repetitions)
    assert 0.93 - error <= hits / repetitions <= most + error
