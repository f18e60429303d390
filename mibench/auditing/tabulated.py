"""Noise levels that a scheduler gives step by step, as a process in continuous time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mibench.auditing.checkpoint import Checkpoint
from mibench.diffusion.process import LinearSDE

__all__ = ["Levels"]

Array = NDArray[np.float64]

NEAR = 1e-4
"""A step this near to a whole one is that one."""


@dataclass(frozen=True)
class Levels:
    """Any α x_0 + σ ε, divided by √(α² + σ²), is a state of the VP process with ᾱ = α² / (α² + σ²) = exp(−τ).

    Step k is at the time t = (k + 1) / N; between the steps τ(t) is interpolated so that its slope is continuous (PCHIP, Fritsch
    and Carlson 1980), since a slope with jumps is no rate of a process.

    Attributes:
        knots: (N + 1,) values of τ at t = 0, 1/N, …, 1.
        slopes: (N + 1,) of τ(t) there.
        alpha_bar: (N,), at the steps.
    """

    knots: Array
    slopes: Array
    alpha_bar: Array

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Levels:
        """The levels of a checkpoint."""
        from scipy.interpolate import PchipInterpolator

        alpha_bar = checkpoint.levels(checkpoint.alpha, checkpoint.sigma)
        knots = np.concatenate([[0.0], -np.log(alpha_bar)])
        grid = np.arange(len(knots)) / checkpoint.steps
        slopes = PchipInterpolator(grid, knots).derivative()(grid)
        # a slope of 0 at an end is no rate of a process; a tenth of the secant keeps the interpolation monotone
        secants = np.diff(knots) * checkpoint.steps
        slopes[0] = max(slopes[0], 0.1 * secants[0])
        slopes[-1] = max(slopes[-1], 0.1 * secants[-1])
        return cls(knots, slopes, alpha_bar)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.alpha_bar)

    def process(self) -> LinearSDE:
        """The process on [0, 1], whose smallest time is that of the first step."""
        return LinearSDE(
            [[-0.5]],
            [1.0],
            rate=lambda t: torch.from_numpy(self._hermite(t.numpy())[1]),
            elapsed=lambda t: torch.from_numpy(self._hermite(t.numpy())[0]),
            horizon=1.0,
            initial=[0.0],
            prior=[1.0],
            t_min=1 / self.steps,
        )

    def _hermite(self, t: Array) -> tuple[Array, Array]:
        """τ and its slope at times, (B,)."""
        place = np.clip(np.asarray(t, dtype=np.float64) * self.steps, 0.0, None)
        k = np.minimum(place.astype(int), self.steps - 1)
        x, h = place - k, 1 / self.steps
        low, high, left, right = self.knots[k], self.knots[k + 1], self.slopes[k] * h, self.slopes[k + 1] * h
        rise = high - low
        second, third = 3 * rise - 2 * left - right, left + right - 2 * rise
        value = low + x * (left + x * (second + x * third))
        return value, (left + x * (2 * second + 3 * x * third)) / h

    def step_of(self, log_snr: Tensor) -> Tensor:
        """The step k, a fraction between two, at which the log-SNR has these values, (B,), float64; by bisection."""
        tau = np.logaddexp(0.0, -log_snr.detach().cpu().double().numpy())
        k = np.clip(np.searchsorted(self.knots, tau * (1 + 1e-12), side="right") - 1, 0, self.steps - 1)
        low, high = k / self.steps, (k + 1) / self.steps
        for _ in range(52):
            middle = (low + high) / 2
            above = self._hermite(middle)[0] > tau
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        step = (low + high) / 2 * self.steps - 1
        whole = np.round(step)
        step = np.where(np.abs(step - whole) < NEAR, whole, step)
        return torch.from_numpy(np.clip(step, 0.0, self.steps - 1.0)).to(log_snr.device)

    def time_of(self, step: float) -> float:
        """The time t of a step."""
        return (step + 1) / self.steps

    def snr_power(self, step: int) -> float:
        """√ᾱ at a step."""
        return math.sqrt(self.alpha_bar[step])
