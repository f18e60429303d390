"""Tests of the AUROC, the TPR at a fixed FPR, the rates at a threshold, the paired test and the intervals."""

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mibench.metrics.membership import (
    at_threshold,
    auroc,
    auroc_interval,
    auroc_score_interval,
    balanced_accuracy_interval,
    balanced_accuracy_threshold,
    epsilon_lower_bound,
    null_distance,
    paired_test,
    ranks,
    shuffled_auroc,
    tpr_at_fpr,
    tpr_interval,
)

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
    "function",
    [
        auroc,
        auroc_interval,
        lambda m, n: tpr_at_fpr(m, n, 0.1),
        lambda m, n: tpr_interval(m, n, 0.1),
        balanced_accuracy_threshold,
        lambda m, n: at_threshold(m, n, 0.0),
        lambda m, n: balanced_accuracy_interval(m, n, 0.0),
        lambda m, n: epsilon_lower_bound(m, n, 0.0),
        lambda m, n: paired_test(m, n, np.arange(200.0), np.arange(200.0)),
        lambda m, n: paired_test(np.arange(200.0), np.arange(200.0), m, n),
        ranks,
        lambda m, n: shuffled_auroc(m, n, 0),
    ],
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
        for call in (balanced_accuracy_interval, epsilon_lower_bound):
            with pytest.raises(ValueError, match="^level must lie strictly between 0 and 1"):
                call(scores, scores, 0.5, level=value)
        with pytest.raises(ValueError, match="^level must lie strictly between 0 and 1"):
            paired_test(scores, scores, scores, scores, level=value)
    for call in (at_threshold, balanced_accuracy_interval, epsilon_lower_bound):
        with pytest.raises(ValueError, match="^threshold must be a number, got nan"):
            call(scores, scores, math.nan)
    for value in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"^delta must lie in \[0, 1\)"):
            epsilon_lower_bound(scores, scores, 0.5, delta=value)
    with pytest.raises(ValueError, match="^both scorings need the same samples, got 200 v 200 and 200 v 199"):
        paired_test(scores, scores, scores, scores[1:])
    with pytest.raises(ValueError, match="^a paired test needs at least two members and two non-members, got 1 v 200"):
        paired_test(scores[:1], scores, scores[:1], scores)
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


def assert_covers(hits, repetitions, most=0.97):
    """The coverage lies within 93 and 97 %, give or take two standard errors of the simulation."""
    error = 2 * math.sqrt(0.93 * 0.07 / repetitions)
    assert 0.93 - error <= hits / repetitions <= most + error


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


@pytest.mark.parametrize(
    ("fpr", "m", "n", "repetitions"), [(0.1, 80, 320, 800), (0.1, 160, 160, 800), (0.01, 800, 3200, 500)]
)
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.95, 0.99])
def test_tpr_interval_covers_binormal_scores(area, fpr, m, n, repetitions):
    rng = np.random.default_rng(12)
    hits = 0
    for seed in range(repetitions):
        members, nonmembers, shift = binormal(rng, area, m, n)
        rate = 1 - NormalDist().cdf(NormalDist().inv_cdf(1 - fpr) - shift)
        lower, upper = tpr_interval(members, nonmembers, fpr, resamples=400, seed=seed)
        hits += lower <= rate <= upper
    few_missed = m * (1 - rate) < 3  # so few members below the threshold that the coverage of any limit jumps
    assert_covers(hits, repetitions, most=1.0 if few_missed else 0.97)


def outcomes(m, n, tpr, fpr):
    """Outcomes at a threshold with all but about 1e-4 of the probability, as scores 0 and 1, with their chances."""
    above, false_alarms = stats.binom.pmf(np.arange(m + 1), m, tpr), stats.binom.pmf(np.arange(n + 1), n, fpr)
    for k in np.flatnonzero(above > 1e-6):
        for j in np.flatnonzero(false_alarms > 1e-6):
            if above[k] * false_alarms[j] > 1e-7:
                yield np.arange(m) < k, np.arange(n) < j, above[k] * false_alarms[j]


@pytest.mark.parametrize(("m", "n"), [(80, 320), (160, 160), (80, 80)])
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.95, 0.99])
def test_threshold_interval_and_epsilon_bound_cover_exactly(area, m, n):
    shift = math.sqrt(2) * NormalDist().inv_cdf(area)
    tpr, fpr = NormalDist().cdf(shift / 2), NormalDist().cdf(-shift / 2)  # at the best threshold
    accuracy, epsilon = (1 + tpr - fpr) / 2, math.log(tpr / fpr)
    accuracy_hits = epsilon_hits = total = 0.0
    for members, nonmembers, chance in outcomes(m, n, tpr, fpr):
        lower, upper = balanced_accuracy_interval(members, nonmembers, 0.5)
        accuracy_hits += chance * (lower <= accuracy <= upper)
        epsilon_hits += chance * (epsilon_lower_bound(members, nonmembers, 0.5) <= epsilon + 1e-12)
        total += chance
    assert 0.999 < total <= 1.000001
    assert 0.93 <= accuracy_hits <= 0.97
    assert epsilon_hits >= 0.949


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


def test_tpr_at_a_thousandth():
    nonmembers = np.arange(10_000.0)
    members = np.array([9989.0, 9989.5, 9990.0, 20_000.0])
    assert tpr_at_fpr(members, nonmembers, 0.001) == 0.75
    lower, upper = tpr_interval(np.repeat(members, 100), nonmembers, 0.001)
    assert 0.2 < lower < 0.75 <= upper < 1


@given(tied_scores, tied_scores)
def test_balanced_accuracy_threshold_is_the_best_of_all(members, nonmembers):
    threshold = balanced_accuracy_threshold(members, nonmembers)
    tpr, fpr = at_threshold(members, nonmembers, threshold)
    candidates = [-math.inf, *np.arange(-4.5, 5)]
    gains = [np.mean(members > t) - np.mean(nonmembers > t) for t in candidates]
    assert tpr - fpr == pytest.approx(max(gains), abs=1e-12)
    assert threshold == -math.inf or threshold not in (members.tolist() + nonmembers.tolist())
    lower, upper = balanced_accuracy_interval(members, nonmembers, threshold)
    assert 0 <= lower <= (1 + tpr - fpr) / 2 <= upper <= 1


def test_balanced_accuracy_threshold_by_hand():
    assert balanced_accuracy_threshold([3.0, 5.0], [0.0, 1.0]) == 2.0
    assert balanced_accuracy_threshold([0.0, 1.0], [3.0, 5.0]) == -math.inf
    assert balanced_accuracy_threshold([1.0], [1.0]) == -math.inf
    assert balanced_accuracy_threshold([1e308], [-1e308]) == 0.0
    for score in (1.0, np.nextafter(1.0, 2), 5e-324, 1.5e-323):  # no float lies between the two
        threshold = balanced_accuracy_threshold([np.nextafter(score, 2)], [score])
        assert at_threshold([np.nextafter(score, 2)], [score], threshold) == (1.0, 0.0)


def test_a_score_at_the_threshold_is_a_nonmember():
    assert at_threshold([0.0, 1.0, 2.0, 2.0], [0.0, 2.0], 1.0) == (0.5, 0.5)
    assert at_threshold([0.0, 1.0], [0.0], -math.inf) == (1.0, 1.0)
    assert at_threshold([0.0, 1.0], [0.0], math.inf) == (0.0, 0.0)


def test_balanced_accuracy_interval_is_the_published_formula():
    members, nonmembers = np.arange(100) < 60, np.arange(200) < 200
    (tpr_low, tpr_high), fpr_low = stats.beta(60.5, 40.5).ppf([0.05, 0.95]), stats.beta(200.5, 0.5).ppf(0.05)
    lower, upper = balanced_accuracy_interval(members, nonmembers, 0.5, level=0.9)
    assert lower == pytest.approx(tpr_low / 2)  # the upper limit of the FPR is 1, its estimate
    assert upper == pytest.approx((0.6 + math.hypot(tpr_high - 0.6, 1 - fpr_low)) / 2)


def test_epsilon_bound_is_the_published_formula():
    members, nonmembers = np.arange(100) < 60, np.arange(200) < 10
    tpr = stats.binomtest(60, 100).proportion_ci(0.95, method="exact").low
    fpr = stats.binomtest(10, 200).proportion_ci(0.95, method="exact").high
    assert epsilon_lower_bound(members, nonmembers, 0.5) == pytest.approx(math.log(tpr / fpr))
    assert epsilon_lower_bound(members, nonmembers, 0.5, delta=0.01) == pytest.approx(math.log((tpr - 0.01) / fpr))
    mirrored = epsilon_lower_bound(~nonmembers, ~members, 0.5)  # now the true negatives carry the larger ratio
    assert mirrored == pytest.approx(math.log(tpr / fpr))
    assert epsilon_lower_bound(members, nonmembers, 0.5, level=0.99) < math.log(tpr / fpr)


def test_epsilon_bound_at_the_ends():
    ones, zeros = np.ones(80), np.zeros(320)
    tail = 0.025
    assert epsilon_lower_bound(ones, zeros, 0.5) == pytest.approx(math.log(tail ** (1 / 80) / (1 - tail ** (1 / 320))))
    assert epsilon_lower_bound(zeros, ones, 0.5) == 0
    assert epsilon_lower_bound(ones, zeros, 2.0) == 0
    assert epsilon_lower_bound(ones, zeros, -1.0) == 0
    assert epsilon_lower_bound(ones, zeros, 0.5, delta=0.999) == 0


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


@given(st.one_of(st.tuples(tied_scores, tied_scores), st.tuples(any_scores, any_scores)))
def test_ranks_keep_every_statistic(pair):
    members, nonmembers = pair
    ranked = ranks(members, nonmembers)
    assert ranked[0].shape == members.shape and ranked[1].shape == nonmembers.shape
    assert set(np.concatenate(ranked).tolist()) == set(range(np.unique(np.concatenate(pair)).size))
    assert auroc(*ranked) == auroc(members, nonmembers)
    assert auroc_interval(*ranked) == auroc_interval(members, nonmembers)
    repeated = members, np.tile(nonmembers, 100)
    assert tpr_at_fpr(*ranks(*repeated), 0.1) == tpr_at_fpr(*repeated, 0.1)
    assert tpr_interval(*ranks(*repeated), 0.1, resamples=20) == tpr_interval(*repeated, 0.1, resamples=20)
    thresholds = balanced_accuracy_threshold(*ranked), balanced_accuracy_threshold(members, nonmembers)
    assert at_threshold(*ranked, thresholds[0]) == at_threshold(members, nonmembers, thresholds[1])


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
