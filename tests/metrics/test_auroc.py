"""The AUROC, its intervals and its tests."""

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scorings import any_scores, assert_covers, binormal, tied_scores

from mibench.metrics.auroc import (
    auroc,
    auroc_interval,
    auroc_score_interval,
    null_distance,
    paired_test,
    shuffled_auroc,
)


def brute_force_auroc(members, nonmembers):
    halves = sum(2 * (m > n) + (m == n) for m in members.tolist() for n in nonmembers.tolist())
    return Fraction(halves, 2 * len(members) * len(nonmembers))


@given(st.one_of(st.tuples(tied_scores, tied_scores), st.tuples(any_scores, any_scores)))
def test_auroc_equals_brute_force_and_mirrors(pair):
    members, nonmembers = pair
    area = auroc(members, nonmembers)
    assert area == pytest.approx(float(brute_force_auroc(members, nonmembers)), abs=2e-16)
    assert auroc(nonmembers, members) == 1 - area
    assert auroc(members, members) == 0.5


@given(tied_scores, tied_scores)
def test_auroc_depends_on_the_order_only(members, nonmembers):
    area = auroc(members, nonmembers)
    for transform in (np.exp, np.arctan, lambda x: x**3, lambda x: 5 * x - 100):
        assert auroc(transform(members), transform(nonmembers)) == area


def test_auroc_of_heavy_tailed_scores_is_exact():
    members = np.array([-1e300, 2.0, 3e-300, 1e308])
    nonmembers = np.array([-1e308, 0.0, 3e-300, 1.0, 1e200])
    assert auroc(members, nonmembers) == (1 + 4 + 2.5 + 5) / 20


def test_auroc_of_many_scores_does_not_overflow():
    scores = np.arange(200_000.0)
    assert auroc(scores + 0.5, scores) == (200_000 + 1) / (2 * 200_000)


@given(st.one_of(st.tuples(tied_scores, tied_scores), st.tuples(any_scores, any_scores)))
def test_auroc_interval_contains_the_estimate_and_mirrors(pair):
    members, nonmembers = pair
    lower, upper = auroc_interval(members, nonmembers)
    assert 0 <= lower <= auroc(members, nonmembers) <= upper <= 1
    mirrored = auroc_interval(nonmembers, members)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((lower, upper), abs=1e-12)


def test_auroc_interval_is_as_wide_as_hanley_and_mcneil_say_in_the_middle():
    n, members, nonmembers = 2000, *binormal(np.random.default_rng(3), 0.6, 2000, 2000)[:2]
    area = auroc(members, nonmembers)
    both_beat_one, one_beats_both = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (both_beat_one + one_beats_both - 2 * area**2)) / n**2
    lower, upper = auroc_interval(members, nonmembers)
    assert upper - lower == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.03)


@pytest.mark.parametrize(("m", "n"), [(80, 320), (160, 160), (80, 80)])
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.95, 0.99])
def test_auroc_interval_covers_binormal_scores(area, m, n):
    rng = np.random.default_rng(11)
    repetitions, hits = 1500, 0
    for _ in range(repetitions):
        lower, upper = auroc_interval(*binormal(rng, area, m, n)[:2])
        hits += lower <= area <= upper
    assert_covers(hits, repetitions)


def test_auroc_interval_covers_at_the_level_of_thirty_comparisons():
    rng = np.random.default_rng(13)
    repetitions, misses = 2000, 0
    for _ in range(repetitions):
        lower, upper = auroc_interval(*binormal(rng, 0.5, 80, 320)[:2], level=1 - 0.05 / 30)
        misses += not lower <= 0.5 <= upper
    assert misses <= 10  # 3.3 expected; ordinary 95 % intervals miss about 100 times


@pytest.mark.parametrize(("m", "n"), [(80, 320), (160, 160)])
@pytest.mark.parametrize(
    ("area_a", "area_b"), [(0.5, 0.5), (0.7, 0.7), (0.9, 0.9), (0.95, 0.95), (0.9, 0.7), (0.95, 0.5), (0.99, 0.95)]
)
def test_paired_test_holds_its_level_and_covers(area_a, area_b, m, n):
    rng = np.random.default_rng(14)
    repetitions, hits, rejections = 800, 0, 0
    for correlation in (0.3, 0.9):
        for _ in range(repetitions // 2):
            pairs = []
            for size, label in ((m, 1), (n, 0)):
                noise_a, noise = rng.normal(size=(2, size))
                noise_b = correlation * noise_a + math.sqrt(1 - correlation**2) * noise
                shifts = [label * math.sqrt(2) * NormalDist().inv_cdf(area) for area in (area_a, area_b)]
                pairs.append((noise_a + shifts[0], noise_b + shifts[1]))
            (members_a, members_b), (nonmembers_a, nonmembers_b) = pairs
            _, (lower, upper), p_value = paired_test(members_a, nonmembers_a, members_b, nonmembers_b)
            hits += lower <= area_a - area_b <= upper
            rejections += p_value < 0.05
    assert_covers(hits, repetitions)
    if area_a == area_b:
        assert rejections == repetitions - hits
    elif area_a - area_b > 0.15:
        assert rejections > 0.8 * repetitions


def test_auroc_interval_covers_where_rare_members_are_far_below():
    rng = np.random.default_rng(12)
    repetitions, hits = 500, 0
    for _ in range(repetitions):  # 2 % of the members score below everyone: DeLong's own interval covers about 79 %
        members = np.where(rng.random(80) < 0.02, -100.0, 100.0) + rng.normal(size=80)
        lower, upper = auroc_interval(members, rng.normal(size=320))
        hits += lower <= 0.98 <= upper
    assert hits / repetitions > 0.91


def test_auroc_of_fifty_thousand_tied_scores_is_the_rank_statistic():
    rng = np.random.default_rng(15)
    members, nonmembers = rng.integers(3, 400, 25_000), rng.integers(0, 390, 25_000)
    statistic = stats.mannwhitneyu(members, nonmembers, method="asymptotic").statistic
    assert auroc(members, nonmembers) == statistic / 25_000**2


def test_paired_test_equals_the_covariance_form_of_delong():
    rng = np.random.default_rng(16)
    members, nonmembers = rng.integers(1, 9, (2, 40)), rng.integers(0, 8, (2, 60))
    wins = [(x[:, None] > y) + (x[:, None] == y) / 2 for x, y in zip(members, nonmembers, strict=True)]
    covariance = np.cov([w.mean(1) for w in wins]) / 40 + np.cov([w.mean(0) for w in wins]) / 60
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference, (lower, upper), p_value = paired_test(members[0], nonmembers[0], members[1], nonmembers[1])
    assert difference == pytest.approx(wins[0].mean() - wins[1].mean())
    assert (upper - difference, difference - lower) == pytest.approx((1.959964 * error,) * 2)
    assert p_value == pytest.approx(2 * NormalDist().cdf(-abs(difference) / error))
    mirrored = paired_test(members[1], nonmembers[1], members[0], nonmembers[0])
    assert (mirrored[0], *mirrored[1], mirrored[2]) == pytest.approx((-difference, -upper, -lower, p_value))


@pytest.mark.parametrize(("m", "n"), [(80, 320), (160, 160), (2, 2)])
def test_paired_test_of_equal_rankings_claims_no_difference_but_keeps_a_width(m, n):
    perfect, below = np.arange(m) + 1e6, np.arange(n, dtype=float)
    for scoring in ((perfect[::-1], below**2), (perfect, below)):
        difference, (lower, upper), p_value = paired_test(perfect, below, *scoring)
        assert difference == 0 and p_value == 1
        assert upper == -lower
        assert min(2.5 / m, 1) <= upper <= min(4 / m, 1)
    difference, (lower, upper), p_value = paired_test(perfect, below, np.zeros(m), np.zeros(n))
    assert difference == 0.5
    assert (p_value < 0.05) == (m > 2)
    assert lower < 0.5 < upper


def test_shuffled_labels_give_chance():
    members, nonmembers = np.arange(80) + 1e6, np.arange(320, dtype=float)
    areas = [shuffled_auroc(members, nonmembers, seed) for seed in range(200)]
    assert areas[3] == shuffled_auroc(members, nonmembers, 3)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.01)
    assert np.std(areas) == pytest.approx(math.sqrt(401 / (12 * 80 * 320)), rel=0.2)  # Mann and Whitney's variance


@pytest.mark.parametrize("area", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 17])
def test_score_interval_covers_at_any_level(area, level):
    """Never less than nominal by more than chance; conservative near 1, where it is used for its lower limit."""
    rng, shift = np.random.default_rng(1), math.sqrt(2) * NormalDist().inv_cdf(area)
    spans = [auroc_score_interval(rng.normal(shift, 1, 80), rng.normal(0, 1, 320), level) for _ in range(300)]
    assert np.mean([low <= area <= high for low, high in spans]) >= level - 3 * math.sqrt(level * (1 - level) / 300)


def test_score_interval_of_a_perfect_score_stays_near_it():
    """Closed form at 1: (1 - θ)² = z² V(θ); the higher the level, the lower the limit, and never a collapse."""
    members, nonmembers = np.arange(80) + 1000.0, np.arange(320.0)
    lows = [auroc_score_interval(members, nonmembers, level)[0] for level in (0.95, 0.99, 0.999, 0.99999)]
    assert all(a > b for a, b in itertools.pairwise(lows)) and lows[-1] > 0.9
    assert auroc_score_interval(members, nonmembers)[1] == 1
    low, high = auroc_score_interval(nonmembers, members)
    assert low == 0 and high < 0.1


def test_null_distance_is_that_of_the_rank_sum_test():
    """Mann and Whitney's normal approximation, ties corrected, as in scipy."""
    rng = np.random.default_rng(0)
    members, nonmembers = rng.integers(0, 9, 50) + 0.3, rng.integers(0, 9, 70) + 0.3
    p = 2 * (1 - NormalDist().cdf(abs(null_distance(members, nonmembers))))
    want = stats.mannwhitneyu(members, nonmembers, use_continuity=False, method="asymptotic").pvalue
    assert p == pytest.approx(want, abs=1e-9)
    assert null_distance(np.ones(5), np.ones(7)) == 0
