"""Variance-exploding SDE."""

import math
from typing import Self

from pydantic import Field, model_validator

from mibench import Defense, LinearSDE


class VE(Defense):
    """Variance-exploding SDE, the continuous score matching with Langevin dynamics."""

    name = "ve"
    title = "VE"
    version = 2
    paper = "arXiv 2011.13456"

    sigma_min: float = Field(0.01, gt=0, le=10, description="smallest noise scale")
    sigma_max: float = Field(
        50.0, gt=0, le=10_000, description="largest noise scale; 10 suits small data of unit scale"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.sigma_max <= self.sigma_min:
            raise ValueError("sigma_max must be above sigma_min")
        return self

    def process(self) -> LinearSDE:
        """F = 0, G = 1, b = dσ²/dt, σ = σ_min (σ_max/σ_min)ᵗ, so Σ = σ²(t) − σ²(0), T = 1 (2011.13456, eq. 30)."""
        low, growth = self.sigma_min**2, 2 * math.log(self.sigma_max / self.sigma_min)
        return LinearSDE(
            [[0.0]],
            [1.0],
            rate=lambda t: low * growth * (growth * t).exp(),
            elapsed=lambda t: low * (growth * t).expm1(),
            horizon=1.0,
            initial=[0.0],
            prior=[self.sigma_max**2],
            t_min=self.t_min,
        )
