"""The paper's bound, against closed forms and the mechanism's own privacy profile."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm

from mibench.diffusion.privacy import distinguishability, epsilon, renyi
from mibench_defenses import HOLD, VP


def test_order_one_in_closed_form() -> None:
    """VP: Δf_t = Δ² α²/σ² = Δ² / (e^{∫β} − 1)."""
    t = torch.tensor([0.01, 0.3, 1.0], dtype=torch.float64)
    beta = 0.1 * t + 19.9 * t**2 / 2
    torch.testing.assert_close(distinguishability(VP().process(), t, 3.0), 9 / beta.expm1(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_variance_added_to_the_data_bounds_it(n: int) -> None:
    """Δf_t ≤ Δ²/ε_num at every t, never growing beyond rounding, and close to it at t → 0."""
    process = HOLD(order=n, epsilon_num=1e-3, t_min=1e-5).process()
    t = torch.logspace(math.log10(process.t_min), math.log10(5), 60, dtype=torch.float64).clamp(max=5)
    gap = distinguishability(process, t, 2.0)
    assert (gap.diff() <= 1e-12 * gap[1:]).all() and gap[-1] < 0.1
    assert gap[0] <= 4 / 1e-3 * (1 + 1e-12)
    assert gap[0] > (0.85 if n == 1 else 0.999) * 4 / 1e-3


@pytest.mark.parametrize("delta_f", [1e-4, 0.3, 4.0, 50.0, 1000.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5])
def test_epsilon_meets_the_privacy_profile(delta_f: float, delta: float) -> None:
    """1805.06530, Theorem 8, evaluated where it does not overflow; and never above what Rényi gives."""
    eps, mu = epsilon(delta_f, delta), math.sqrt(delta_f)
    if eps < 600:
        profile = norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)
        assert profile == pytest.approx(delta, rel=1e-6) or (eps == 0 and profile <= delta)
    from_renyi = min(
        renyi(delta_f, a) + math.log(1 / delta) / (a - 1) for a in (1 + 10 ** (k / 20) for k in range(-80, 80))
    )
    assert eps <= from_renyi


def test_nothing_is_given_away_where_the_law_is_the_same() -> None:
    assert epsilon(0.0, 1e-5) == 0
    assert epsilon(1e-14, 1e-5) == 0
