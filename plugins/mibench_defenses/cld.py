"""Critically damped Langevin diffusion."""

import math

import torch
from pydantic import Field

from mibench import Defense, LinearSDE


class CLD(Defense):
    """Critically damped Langevin diffusion: data and velocity."""

    name = "cld"
    title = "CLD"
    version = 2
    paper = "arXiv 2112.07068"
    adaptive = ("adaptive",)

    beta: float = Field(4.0, gt=0, le=1000, description="b, constant")
    mass: float = Field(0.25, gt=0, le=1000, description="M; the friction is critical, Γ² = 4M")
    gamma: float = Field(0.04, ge=0, le=1000, description="the velocity starts with variance γM")

    def process(self) -> LinearSDE:
        """F = [[0, 1/M], [−1, −Γ/M]], G = (0, √(2Γ)), T = 1 (2112.07068, eq. 5)."""
        friction = 2 * math.sqrt(self.mass)
        beta = self.beta
        return LinearSDE(
            [[0.0, 1 / self.mass], [-1.0, -friction / self.mass]],
            [0.0, math.sqrt(2 * friction)],
            rate=lambda t: torch.full_like(t, beta),
            elapsed=lambda t: beta * t,
            horizon=1.0,
            initial=[0.0, self.gamma * self.mass],
            prior=[1.0, self.mass],
            t_min=self.t_min,
        )
