"""Rates at a threshold or at an FPR, their intervals, and the choice of a threshold."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scorings import assert_covers, binormal, tied_scores

from mibench.metrics.thresholds import (
    at_threshold,
    balanced_accuracy_interval,
    balanced_accuracy_threshold,
    epsilon_lower_bound,
    tpr_at_fpr,
    tpr_interval,
)


def brute_force_tpr(members, nonmembers, fpr):
    rates = [0.0]
    for threshold in np.concatenate([members, nonmembers]):
        if np.mean(nonmembers >= threshold) <= fpr:
            rates.append(float(np.mean(members >= threshold)))
    return max(rates)


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


def test_a_guarantee_for_one_sample_counts_twice_for_an_exchange():
    members, nonmembers = np.arange(200) < 150, np.arange(400) < 40
    bound = epsilon_lower_bound(members, nonmembers, 0.5)
    assert epsilon_lower_bound(members, nonmembers, 0.5, exchanged=True) == pytest.approx(bound / 2)
    tpr, fpr = stats.beta.ppf(0.025, 150, 51), stats.beta.ppf(0.975, 41, 360)
    for delta in (1e-6, 0.01, 0.2):
        found = epsilon_lower_bound(members, nonmembers, 0.5, delta=delta, exchanged=True)
        assert math.exp(2 * found) * fpr + (1 + math.exp(found)) * delta == pytest.approx(tpr)
        assert found < bound / 2
    assert epsilon_lower_bound(members, nonmembers, 0.5, delta=0.9, exchanged=True) == 0


def hits_of_one_model(guesses, m, n, factor):
    """The chances of 0, 1, ... members among so many samples that are called members, as many as a guarantee allows.

    Of m members and n non-members of one model, looked at one by one: the odds of each are those of a draw from the rest,
    times the factor (the argument of arXiv 2305.08846, for members drawn without replacement).
    """
    chance = np.eye(1, guesses + 1)[0]
    hits = np.arange(guesses + 1)
    for done in range(guesses):
        odds = factor * np.maximum(m - hits, 0), np.maximum(n - (done - hits), 0)
        share = np.divide(odds[0], sum(odds), out=np.zeros(guesses + 1), where=sum(odds) > 0)
        chance = chance * (1 - share) + np.roll(chance * share, 1)
    return chance


@pytest.mark.parametrize(("m", "n"), [(80, 320), (160, 160), (320, 80)])
@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0])
def test_epsilon_bound_holds_for_samples_of_one_model(epsilon, m, n):
    """Each direction errs in less than half of the 5 % that both may, however many samples are called members."""
    for guesses in (10, 40, 100, 240):
        chance = hits_of_one_model(guesses, m, n, math.exp(2 * epsilon))
        hits = np.flatnonzero(chance > 1e-12)
        tpr = np.nan_to_num(stats.beta.ppf(0.025, hits, m - hits + 1))
        fpr = stats.beta.ppf(0.975, guesses - hits + 1, n - guesses + hits)
        fpr = np.where(guesses - hits == n, 1, fpr)
        assert chance[hits][tpr > math.exp(2 * epsilon) * fpr].sum() < 0.025


def test_epsilon_bound_at_the_ends():
    ones, zeros = np.ones(80), np.zeros(320)
    tail = 0.025
    assert epsilon_lower_bound(ones, zeros, 0.5) == pytest.approx(math.log(tail ** (1 / 80) / (1 - tail ** (1 / 320))))
    assert epsilon_lower_bound(zeros, ones, 0.5) == 0
    assert epsilon_lower_bound(ones, zeros, 2.0) == 0
    assert epsilon_lower_bound(ones, zeros, -1.0) == 0
    assert epsilon_lower_bound(ones, zeros, 0.5, delta=0.999) == 0
