"""Tests of the AUROC, the TPR at a fixed FPR and their intervals."""

from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mibench.metrics.membership import auroc, auroc_interval, tpr_at_fpr, tpr_interval

tied_scores = st.lists(st.integers(-4, 4), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=float))
any_scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(np.array)


def brute_force_auroc(members, nonmembers):
    halves = sum(2 * (m > n) + (m == n) for m in members.tolist() for n in nonmembers.tolist())
    return Fraction(halves, 2 * len(members) * len(nonmembers))


def brute_force_tpr(members, nonmembers, fpr):
    rates = [0.0]
    for threshold in np.concatenate([members, nonmembers]):
        if np.mean(nonmembers >= threshold) <= fpr:
            rates.append(float(np.mean(members >= threshold)))
    return max(rates)


def binormal(rng, area, m, n):
    shift = np.sqrt(2) * NormalDist().inv_cdf(area)
    return rng.normal(shift, size=m), rng.normal(size=n), shift


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


@settings(max_examples=60)
@given(
    st.lists(st.integers(-6, 6), min_size=1, max_size=30),
    st.lists(st.integers(-6, 6), min_size=100, max_size=130),
    st.sampled_from([0.1, 0.15, 0.29, 0.5, 0.9]),
)
def test_tpr_equals_brute_force_with_ties(members, nonmembers, fpr):
    members, nonmembers = np.array(members, dtype=float), np.array(nonmembers, dtype=float)
    rate = tpr_at_fpr(members, nonmembers, fpr)
    assert rate == brute_force_tpr(members, nonmembers, fpr)
    lower, upper = tpr_interval(members, nonmembers, fpr, resamples=50)
    assert 0 <= lower <= rate <= upper <= 1


def test_tpr_does_not_lose_a_false_positive_to_rounding():
    nonmembers = np.arange(100.0)  # 0.29 * 100 is 28.999999999999996
    assert tpr_at_fpr(np.array([70.5]), nonmembers, 0.29) == 1.0
    assert tpr_at_fpr(np.array([70.0]), nonmembers, 0.29) == 0.0  # its own false positive would be the thirtieth


def test_tied_scores_are_never_split():
    nonmembers = np.array([1.0] * 11 + [0.0] * 89)
    assert tpr_at_fpr(np.array([1.0, 1.0]), nonmembers, 0.1) == 0.0
    assert tpr_at_fpr(np.array([1.0, 1.0]), nonmembers, 0.11) == 1.0


@pytest.mark.parametrize(("fpr", "enough"), [(0.1, 100), (0.01, 1000), (0.001, 10_000), (0.3, 34), (0.07, 143)])
def test_tpr_needs_ten_false_positives(fpr, enough):
    members = np.arange(10.0)
    assert tpr_at_fpr(members, np.arange(enough, dtype=float), fpr) is not None
    assert tpr_interval(members, np.arange(enough, dtype=float), fpr, resamples=10) is not None
    assert tpr_at_fpr(members, np.arange(enough - 1, dtype=float), fpr) is None
    assert tpr_interval(members, np.arange(enough - 1, dtype=float), fpr, resamples=10) is None


@pytest.mark.parametrize(
    "function", [auroc, auroc_interval, lambda m, n: tpr_at_fpr(m, n, 0.1), lambda m, n: tpr_interval(m, n, 0.1)]
)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([]), "must not be empty"),
        (np.array([0.0, np.nan]), "must be finite, got 1 "),
        (np.array([0.0, np.inf, -np.inf]), "must be finite, got 2 "),
        (np.zeros((3, 1)), r"must be one-dimensional, got shape \(3, 1\)"),
        (np.float64(1.0), "must be one-dimensional"),
    ],
)
def test_wrong_scores_are_refused(function, wrong, message):
    right = np.arange(200.0)
    with pytest.raises(ValueError, match=f"^members {message}"):
        function(wrong, right)
    with pytest.raises(ValueError, match=f"^nonmembers {message}"):
        function(right, wrong)


def test_wrong_settings_are_refused():
    scores = np.arange(200.0)
    for value in (0.0, 1.0, -0.1, 1.5, float("nan")):
        for call in (tpr_at_fpr, tpr_interval):
            with pytest.raises(ValueError, match="^fpr must lie strictly between 0 and 1"):
                call(scores, scores, value)
        with pytest.raises(ValueError, match="^level must lie strictly between 0 and 1"):
            auroc_interval(scores, scores, level=value)
        with pytest.raises(ValueError, match="^level must lie strictly between 0 and 1"):
            tpr_interval(scores, scores, 0.1, level=value)
    with pytest.raises(ValueError, match="^resamples must be at least 1"):
        tpr_interval(scores, scores, 0.1, resamples=0)


@given(st.one_of(st.tuples(tied_scores, tied_scores), st.tuples(any_scores, any_scores)))
def test_auroc_interval_contains_the_estimate_and_mirrors(pair):
    members, nonmembers = pair
    lower, upper = auroc_interval(members, nonmembers)
    assert 0 <= lower <= auroc(members, nonmembers) <= upper <= 1
    mirrored = auroc_interval(nonmembers, members)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((lower, upper), abs=1e-12)


def test_perfect_separation_has_an_honest_lower_limit():
    for m, n in [(80, 320), (80, 1000), (160, 320)]:
        lower, upper = auroc_interval(np.arange(m) + 1e6, np.arange(n, dtype=float))
        assert upper == 1
        assert 0.8 < lower < 1 - 3 / m  # at most the rule of three for members that no threshold would find
    rates = tpr_interval(np.arange(80) + 1e6, np.arange(320, dtype=float), 0.1)
    assert rates[1] == 1
    assert 0.9 < rates[0] < 0.99


def test_auroc_interval_is_as_wide_as_hanley_and_mcneil_say_in_the_middle():
    n, members, nonmembers = 2000, *binormal(np.random.default_rng(3), 0.6, 2000, 2000)[:2]
    area = auroc(members, nonmembers)
    both_beat_one, one_beats_both = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (both_beat_one + one_beats_both - 2 * area**2)) / n**2
    lower, upper = auroc_interval(members, nonmembers)
    assert upper - lower == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.03)


def test_a_higher_level_widens_and_a_seed_repeats():
    members, nonmembers, _ = binormal(np.random.default_rng(3), 0.8, 80, 320)
    for interval in (auroc_interval, lambda m, n, **options: tpr_interval(m, n, 0.1, **options)):
        narrow, wide = interval(members, nonmembers, level=0.8), interval(members, nonmembers, level=0.99)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
        assert interval(members, nonmembers) == interval(members, nonmembers)
    assert tpr_interval(members, nonmembers, 0.1, seed=4) != tpr_interval(members, nonmembers, 0.1, seed=5)


@pytest.mark.parametrize("area", [0.5, 0.75, 0.95, 0.99, 0.995])
def test_intervals_cover_binormal_scores(area):
    rng = np.random.default_rng(11)
    repetitions, area_hits, rate_hits = 400, 0, 0
    for seed in range(repetitions):
        members, nonmembers, shift = binormal(rng, area, 80, 320)
        rate = 1 - NormalDist().cdf(NormalDist().inv_cdf(0.9) - shift)
        lower, upper = auroc_interval(members, nonmembers)
        area_hits += lower <= area <= upper
        lower, upper = tpr_interval(members, nonmembers, 0.1, resamples=300, seed=seed)
        rate_hits += lower <= rate <= upper
    assert area_hits / repetitions > 0.91
    assert rate_hits / repetitions > 0.91


def test_auroc_interval_covers_where_rare_members_are_far_below():
    rng = np.random.default_rng(12)
    repetitions, hits = 500, 0
    for _ in range(repetitions):  # 2 % of the members score below everyone: DeLong's own interval covers about 79 %
        members = np.where(rng.random(80) < 0.02, -100.0, 100.0) + rng.normal(size=80)
        lower, upper = auroc_interval(members, rng.normal(size=320))
        hits += lower <= 0.98 <= upper
    assert hits / repetitions > 0.91
