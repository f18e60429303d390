"""How many samples show that a set was trained on, against power calculations and simulated tests."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from mibench.metrics.scores import ranks
from mibench.metrics.set_level import samples_needed

NORMAL = NormalDist()
QUANTILES = np.array([NORMAL.inv_cdf((k + 0.5) / 2000) for k in range(2000)])


@pytest.mark.parametrize("shift", [0.2, 0.3, 0.5, 0.8, 1.2])
def test_gaussian_scores_need_what_the_power_calculation_says(shift):
    """n = 2 (z_.99 + z_.95)² / d² a side for the t-test, times π / 3 for ranks."""
    wanted = 2 * (NORMAL.inv_cdf(0.99) + NORMAL.inv_cdf(0.95)) ** 2 / shift**2 * np.pi / 3
    found, most = samples_needed([(QUANTILES + shift, QUANTILES)])
    assert found == pytest.approx(wanted, rel=0.1) and most == 2000


@pytest.mark.parametrize("shift", [0.6, 1.0, 2.0, 3.0])
def test_so_many_samples_reach_the_power_in_simulation(shift):
    found, _ = samples_needed([(QUANTILES + shift, QUANTILES)])
    rng = np.random.default_rng(0)

    def power(k):
        p = mannwhitneyu(rng.normal(shift, 1, (4000, k)), rng.normal(size=(4000, k)), alternative="greater", axis=1)
        return np.mean(p.pvalue < 0.01)

    assert power(found) == pytest.approx(0.95, abs=0.02)


def test_nothing_to_find_is_not_within_the_samples():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert samples_needed([(rng.normal(size=80), rng.normal(size=320))]) == (None, 80)
    assert samples_needed([(np.zeros(30), np.zeros(20))]) == (None, 20)
    assert samples_needed([(np.zeros(30), np.ones(40))]) == (None, 30)


def test_five_samples_are_the_fewest_that_can_reach_it():
    """Of all orders of five and five samples one in 252 is as extreme, of four and four one in 70."""
    assert samples_needed([(np.ones(30), np.zeros(20))]) == (5, 20)
    assert samples_needed([(np.ones(4), np.zeros(20))]) == (None, 4)


def test_only_the_order_counts_and_seeds_are_averaged():
    rng = np.random.default_rng(1)
    clear, weak = ((rng.normal(shift, size=200), rng.normal(size=300)) for shift in (1.5, 0.6))
    assert samples_needed([clear]) == samples_needed([ranks(*clear)]) == samples_needed([[np.exp(x) for x in clear]])
    numbers = [samples_needed(pairs)[0] for pairs in ([clear], [clear, weak], [weak])]
    assert numbers == sorted(numbers) and len(set(numbers)) == 3
    assert samples_needed([clear, weak[::-1]])[0] is None
