"""What one noised state gives away of its datum, whatever the attacker does (2509.14225)."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr
from torch import Tensor

from mibench.diffusion.process import LinearSDE

__all__ = ["distinguishability", "epsilon", "renyi"]


def distinguishability(process: LinearSDE, t: Tensor, diameter: float) -> Tensor:
    """Δf_t = max (y − z)ᵀ Eᵀ Σ⁻¹ E (y − z) = |a(t)|² Δ², (B,), at most Δ²/ε_num.

    Args:
        process: the forward process.
        t: (B,) float64 times.
        diameter: Δ, the largest distance between two data items.
    """
    return process.kernel(t).log_snr.exp() * diameter**2


def renyi(delta_f: float, alpha: float) -> float:
    """D_α = α Δf_t / 2 in nats: the Rényi divergence of two Gaussians of one covariance."""
    return alpha * delta_f / 2


def epsilon(delta_f: float, delta: float) -> float:
    """The smallest ε ≥ 0 for which the release of u_t is (ε, δ)-indistinguishable.

    It is a Gaussian mechanism with μ = √Δf_t, so δ(ε) = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ) exactly (1805.06530, Theorem 8).
    """
    mu = math.sqrt(delta_f)
    if mu == 0:
        return 0.0

    def log_excess(eps: float) -> float:
        first, second = log_ndtr(mu / 2 - eps / mu), eps + log_ndtr(-mu / 2 - eps / mu)
        return float(first + math.log(max(-math.expm1(second - first), 1e-300)) - math.log(delta))

    if log_excess(0.0) <= 0:
        return 0.0
    upper = delta_f / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1
    return float(brentq(log_excess, 0.0, upper, rtol=1e-12))
