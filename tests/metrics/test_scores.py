"""What all measures share: refusals, levels and ranks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scorings import any_scores, binormal, tied_scores

from mibench.metrics.auroc import (
    auroc,
    auroc_interval,
    paired_test,
    shuffled_auroc,
)
from mibench.metrics.scores import ranks
from mibench.metrics.thresholds import (
    at_threshold,
    balanced_accuracy_interval,
    balanced_accuracy_threshold,
    epsilon_lower_bound,
    tpr_at_fpr,
    tpr_interval,
)


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


def test_perfect_separation_has_an_honest_lower_limit():
    for m, n in [(80, 320), (80, 1000), (160, 320)]:
        lower, upper = auroc_interval(np.arange(m) + 1e6, np.arange(n, dtype=float))
        assert upper == 1
        assert 0.8 < lower < 1 - 3 / m  # at most the rule of three for members that no threshold would find
    rates = tpr_interval(np.arange(80) + 1e6, np.arange(320, dtype=float), 0.1)
    assert rates[1] == 1
    assert 0.9 < rates[0] < 0.99


def test_a_higher_level_widens_and_a_seed_repeats():
    members, nonmembers, _ = binormal(np.random.default_rng(3), 0.8, 80, 320)
    for interval in (auroc_interval, lambda m, n, **options: tpr_interval(m, n, 0.1, **options)):
        narrow, wide = interval(members, nonmembers, level=0.8), interval(members, nonmembers, level=0.99)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
        assert interval(members, nonmembers) == interval(members, nonmembers)
    assert tpr_interval(members, nonmembers, 0.1, seed=4) != tpr_interval(members, nonmembers, 0.1, seed=5)


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
