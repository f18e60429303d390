"""The bound on ε from one training run: closed cases, published figures, and randomised response of a known ε."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from mibench.metrics.one_run import one_run_epsilon, one_run_p_value

PUBLISHED = [((1000, 100, 75, 1e-4), 0.673), ((100_000, 1510, 1439, 1e-5), 2.675)]  # appendix D, section 7


def sigmoid(epsilon):
    return 1 / (1 + math.exp(-epsilon))


@pytest.mark.parametrize(("arguments", "epsilon"), PUBLISHED)
def test_published_figures(arguments, epsilon):
    assert one_run_epsilon(*arguments) == pytest.approx(epsilon, abs=1e-3)


@pytest.mark.parametrize(("guesses", "correct"), [(1, 1), (10, 7), (100, 75), (400, 400), (1510, 1439)])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 5.0, 40.0])
def test_without_delta_the_p_value_is_a_binomial_tail(guesses, correct, epsilon):
    expected = binom.sf(correct - 1, guesses, sigmoid(epsilon))
    assert one_run_p_value(5000, guesses, correct, epsilon) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("guesses", "correct"), [(1, 1), (10, 7), (100, 75), (400, 400)])
@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (0.5, 1e-4), (2.0, 1e-6), (6.0, 1e-3)])
def test_with_delta_it_is_the_sum_of_the_paper(guesses, correct, epsilon, delta):
    rate, most = sigmoid(epsilon), 0.0
    for i in range(1, correct + 1):
        between = binom.cdf(correct - 1, guesses, rate) - binom.cdf(correct - i - 1, guesses, rate)
        most = max(most, between / i)
    expected = min(1.0, binom.sf(correct - 1, guesses, rate) + 2 * 500 * delta * most)
    assert one_run_p_value(500, guesses, correct, epsilon, delta) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_closed_cases():
    for r in (5, 40, 1000):  # all right: q^r = 1 - level
        q = 0.05 ** (1 / r)
        assert one_run_epsilon(r, r, r) == pytest.approx(math.log(q / (1 - q)), rel=1e-9)
    assert one_run_epsilon(1, 1, 1, level=0.5) == 0
    assert one_run_epsilon(100, 100, 50) == one_run_epsilon(100, 100, 0) == one_run_epsilon(10, 0, 0) == 0
    assert one_run_epsilon(4, 4, 4) == 0 < one_run_epsilon(5, 5, 5)  # 2^-4 > .05 > 2^-5
    for arguments in ((100, 50, 45), (100, 90, 60)):
        bounds = [one_run_epsilon(*arguments, delta) for delta in (0, 1e-6, 1e-4, 1e-2)]
        assert bounds == sorted(bounds, reverse=True) and bounds[0] > bounds[-1]
        assert one_run_epsilon(*arguments, 1e-12) == pytest.approx(bounds[0], abs=1e-5)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 0.0), (1.0, 1e-5), (3.0, 0.0)])
def test_randomised_response_is_covered_and_nearly_reached(epsilon, delta):
    right = np.random.default_rng(0).binomial(1000, sigmoid(epsilon), 400)
    bound = {int(v): one_run_epsilon(1000, 1000, int(v), delta) for v in np.unique(right)}
    bounds = np.array([bound[int(v)] for v in right])
    assert np.mean(bounds <= epsilon) >= 0.95 - 0.02  # two standard errors
    if epsilon and not delta:
        assert np.median(bounds) > 0.85 * epsilon
    assert np.median(bounds) > 0.7 * epsilon if epsilon else np.median(bounds) == 0


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("delta", [0.0, 1e-4])
def test_its_exact_coverage_is_at_least_the_level(epsilon, delta):
    covered = [v for v in range(61) if one_run_epsilon(80, 60, v, delta) <= epsilon]
    assert binom.pmf(covered, 60, sigmoid(epsilon)).sum() >= 0.95


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((10, 11, 5), "correct <= guesses <= canaries"),
        ((10, 5, 6), "correct <= guesses <= canaries"),
        ((10, 5, -1), "correct <= guesses <= canaries"),
        ((10, 5, 5, 1.0), "delta"),
        ((10, 5, 5, math.nan), "delta"),
        ((10, 5, 5, 0.0, 1.0), "level"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        one_run_epsilon(*arguments)


def test_a_wrong_epsilon():
    with pytest.raises(ValueError, match="epsilon"):
        one_run_p_value(10, 5, 5, -1.0)
