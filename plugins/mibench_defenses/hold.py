"""Higher-order Langevin dynamics, of any order."""

import math

import torch
from pydantic import Field

from mibench import Defense, LinearSDE


class HOLD(Defense):
    """Higher-order Langevin dynamics: data, velocity, acceleration, … up to the order, critically damped."""

    name = "hold"
    title = "HOLD"
    version = 2
    paper = "arXiv 2509.14225"
    adaptive = ("adaptive",)
    shorthand = "order"

    order: int = Field(2, ge=1, le=10, description="number of variables; 1 is the Ornstein–Uhlenbeck control")
    aux_variance: float = Field(0.08, ge=0, le=1000, description="v_0, variance of the auxiliaries at the start")
    stationary_variance: float = Field(1.0, gt=0, le=1e6, description="L⁻¹, variance of every variable at the end")
    epsilon_num: float = Field(
        0.0, ge=0, le=1000, description="ε_num, variance added to the data: sets the privacy bound"
    )
    horizon: float = Field(5.0, gt=0, le=1000, description="T")

    def process(self) -> LinearSDE:
        """F = Σ γ_i (E_{i,i+1} − E_{i+1,i}) − ξ E_nn, G = (0, …, 0, √(2ξ L⁻¹)), b = 1 (2506.21741; 2509.14225, eq. 4).

        Critical damping: λ = √(2n−3), ξ = nλ, γ_{n−k} = λ √((n²−k²)/(4k²−1)), one Jordan block with eigenvalue −λ.
        """
        n = self.order
        decay = math.sqrt(2 * n - 3) if n > 1 else 1.0
        friction = n * decay
        drift = [[0.0] * n for _ in range(n)]
        for k in range(1, n):
            i = n - k - 1
            gamma = decay * math.sqrt((n**2 - k**2) / (4 * k**2 - 1))
            drift[i][i + 1], drift[i + 1][i] = gamma, -gamma
        drift[-1][-1] -= friction
        return LinearSDE(
            drift,
            [0.0] * (n - 1) + [math.sqrt(2 * friction * self.stationary_variance)],
            rate=torch.ones_like,
            elapsed=torch.clone,
            horizon=self.horizon,
            initial=[self.epsilon_num] + [self.aux_variance] * (n - 1),
            prior=[self.stationary_variance] * n,
            t_min=self.t_min,
        )
