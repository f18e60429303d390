"""Variance-preserving SDE."""

from typing import Self

from pydantic import Field, model_validator

from mibench import Defense, LinearSDE


class VP(Defense):
    """Variance-preserving SDE, the continuous DDPM: the baseline."""

    name = "vp"
    title = "VP"
    version = 2
    paper = "arXiv 2011.13456"

    beta_min: float = Field(0.1, gt=0, le=100, description="b(0)")
    beta_max: float = Field(20.0, gt=0, le=1000, description="b(1)")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.beta_max < self.beta_min:
            raise ValueError("beta_max must be at least beta_min")
        return self

    def process(self) -> LinearSDE:
        """F = −½, G = 1, b(t) = β_min + t (β_max − β_min), T = 1 (2011.13456, eq. 32)."""
        low, slope = self.beta_min, self.beta_max - self.beta_min
        return LinearSDE(
            [[-0.5]],
            [1.0],
            rate=lambda t: low + slope * t,
            elapsed=lambda t: low * t + slope * t**2 / 2,
            horizon=1.0,
            initial=[0.0],
            prior=[1.0],
            t_min=self.t_min,
        )
