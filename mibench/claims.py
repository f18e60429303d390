"""The differential privacy that a defense claims for its training, and the accountant that computes it.

DP-SGD (1607.00133) with Poisson sampling: in each step every member takes part with the same probability, its gradient is
clipped, and Gaussian noise of ``noise`` times the clip is added to the sum. The steps are composed by their privacy loss
distributions (PLD; 1906.03049, 2207.04380), as dp-accounting computes them. That gives an upper bound, too large by some 1e-4
of itself, and by 1e-3 where ε is above 700.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import statistics
from decimal import ROUND_CEILING, Context
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mibench.errors import MibenchError, UsageError

__all__ = ["LARGEST", "Claim", "calibrated", "spent"]

LARGEST = 1000  # an ε above this says nothing, and accountants lose their digits
NOISES = 1e-2, 1e7  # noise multipliers among which one is looked for
POINTS = 10_000, 100_000  # so many values of one step's privacy loss are enough; the second, where there are many steps


class Claim(BaseModel):
    """An (ε, δ) that a training claims, with what it was computed from.

    Attributes:
        epsilon: at this delta; None where the accountant gives none up to 1000, which is no claim.
        delta: δ.
        noise: σ, the noise multiplier: the standard deviation of the noise on the sum, as a multiple of the clip.
        rate: the probability with which a member takes part in a step.
        steps: of the optimiser.
        clip: the largest norm of a member's gradient.
        draws: noised states per member and step, over which its gradient is averaged before it is clipped.
        sampling: how the members of a step are drawn.
        relation: of the two data sets that cannot be told apart.
        accountant: library, version and method.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    epsilon: float | None = Field(ge=0, le=LARGEST)
    delta: float = Field(gt=0, lt=1)
    noise: float = Field(gt=0)
    rate: float = Field(gt=0, le=1)
    steps: int = Field(ge=1)
    clip: float = Field(gt=0)
    draws: int = Field(ge=1)
    sampling: Literal["poisson"] = "poisson"
    relation: Literal["add or remove one member"] = "add or remove one member"
    accountant: str

    @classmethod
    def of(cls, *, noise: float, rate: float, steps: int, delta: float, clip: float, draws: int = 1) -> Self:
        """The claim of a training with these values; ε by ``spent``, which says what is raised."""
        return cls(
            epsilon=spent(noise, rate, steps, delta),
            delta=delta,
            noise=noise,
            rate=rate,
            steps=steps,
            clip=clip,
            draws=draws,
            accountant=f"dp-accounting {importlib.metadata.version('dp-accounting')}, PLD",
        )

    def __str__(self) -> str:
        """(ε, δ) as boards write it, ε rounded up to three significant digits."""
        if self.epsilon is None:
            return f"no claim (ε above {LARGEST})"
        epsilon = Context(prec=3, rounding=ROUND_CEILING).create_decimal(repr(self.epsilon))
        return f"({float(epsilon):g}, {self.delta:.3g})"

    def after(self, steps: int) -> Self:
        """The claim of the same training after fewer steps, for a checkpoint."""
        return self.model_copy(update={"steps": steps, "epsilon": spent(self.noise, self.rate, steps, self.delta)})


@functools.cache
def spent(noise: float, rate: float, steps: int, delta: float) -> float | None:
    """The ε of so many steps of the Poisson-sampled Gaussian mechanism, one member added or removed.

    Args:
        noise: σ, the noise multiplier.
        rate: the probability with which a member takes part in a step, in (0, 1].
        steps: how many.
        delta: δ, in (0, 1).

    Returns:
        ε; None where it is above 1000.

    Raises:
        UsageError: where a value lies outside its range.
        MibenchError: where dp-accounting is not installed.
    """
    _check(rate, steps, delta)
    if not 0 < noise < math.inf:
        raise UsageError(f"the noise multiplier must be above 0, not {noise:g}")
    epsilon = _epsilon(noise, rate, steps, delta)
    return epsilon if epsilon <= LARGEST else None


@functools.cache
def calibrated(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The smallest noise multiplier for which ``spent`` is at most ε, within 1e-3 (to 1e-4 of it above 100).

    Args:
        epsilon: ε, in (0, 1000].
        rate, steps, delta: see ``spent``.

    Raises:
        UsageError: where a value lies outside its range, or no noise gives this ε.
        MibenchError: where dp-accounting is not installed.
    """
    from scipy.optimize import brentq  # a board needs none of it

    _check(rate, steps, delta)
    if not 0 < epsilon <= LARGEST:
        raise UsageError(f"epsilon must be above 0 and at most {LARGEST:g}, not {epsilon:g}")
    slack = 5e-4 * min(1.0, epsilon)

    def excess(log_noise: float) -> float:
        return min(_epsilon(math.exp(log_noise), rate, steps, delta), 2 * LARGEST) - (epsilon - slack)

    low, high = (math.log(noise) for noise in NOISES)
    here = _start(epsilon, rate, steps, delta, low, high)
    sign, stride = math.copysign(1.0, excess(here)), 0.02
    while sign * excess(there := min(max(here + sign * stride, low), high)) > 0:
        if there in (low, high):
            raise UsageError(
                f"no noise gives epsilon = {epsilon:g} at rate {rate:g}, {steps} steps and delta = {delta:g}"
            )
        here, stride = there, 2 * stride
    return math.exp(brentq(excess, *sorted((here, there)), xtol=slack / epsilon / 10, rtol=1e-15))


def _check(rate: float, steps: int, delta: float) -> None:
    if not 0 < rate <= 1:
        raise UsageError(f"the rate of sampling must be above 0 and at most 1, not {rate:g}")
    if steps < 1:
        raise UsageError(f"there must be at least one step, not {steps}")
    if not 0 < delta < 1:
        raise UsageError(f"delta must lie between 0 and 1, not {delta:g}")


@functools.cache
def _epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """ε of values in their ranges, infinite where it is far above 1000."""
    try:
        from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
    except ImportError as error:
        raise MibenchError(f"the privacy accountant needs dp-accounting ({error}): pip install 'mibench[dp]'") from None
    guess, largest = _guess(noise, rate, steps, delta)
    if guess > 4 * LARGEST:
        return math.inf
    # privacy losses rounded to multiples of h add some h²/8 per step of training to ε
    exact = math.sqrt(8e-4 * guess / steps)
    width = min(max(2e-4 * guess, largest / POINTS[0]), max(exact, largest / POINTS[1]))
    step = from_gaussian_mechanism(noise, value_discretization_interval=width, sampling_prob=rate)
    return float(step.self_compose(steps).get_epsilon_for_delta(delta))


def _guess(noise: float, rate: float, steps: int, delta: float) -> tuple[float, float]:
    """ε as if the privacy loss of all steps were normal, and the largest loss of one step that has any weight.

    One step's loss is log(1 − q + q e^((2x − 1)/2σ²)) with x ~ (1 − q) N(0, σ²) + q N(1, σ²).
    """
    z = np.linspace(-9, 9, 2001)
    weights = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()

    def loss(x: Any) -> Any:
        stay = math.log1p(-rate) if rate < 1 else -math.inf
        return np.logaddexp(stay, math.log(rate) + (2 * x - 1) / (2 * noise**2))

    without, within = loss(noise * z), loss(1 + noise * z)
    mean = weights @ ((1 - rate) * without + rate * within)
    square = weights @ ((1 - rate) * without**2 + rate * within**2)
    normal = steps * mean - statistics.NormalDist().inv_cdf(delta) * math.sqrt(steps * max(square - mean**2, 0.0))
    return max(float(normal), 1e-12), float(np.abs([*loss(1 + 10 * noise * np.array([-1.0, 1.0]))]).max())


def _start(epsilon: float, rate: float, steps: int, delta: float, low: float, high: float) -> float:
    """The logarithm of a noise near the one that gives ε."""
    from scipy.optimize import brentq

    def excess(log_noise: float) -> float:
        return math.log(_guess(math.exp(log_noise), rate, steps, delta)[0] / epsilon)

    if excess(low) <= 0:
        return low
    return high if excess(high) >= 0 else float(brentq(excess, low, high, xtol=1e-2))
