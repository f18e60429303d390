"""Noise on the answers of the released model."""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from mibench import Kernel, Measure, Model
from mibench.diffusion.denoisers import Denoiser

DIRECTIONS = 4
CELL = 0.01
"""States whose projections on all directions differ by less than about this, a hundredth of unit noise, get the same noise."""

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # splitmix64's, as signed numbers


class OutputNoise(Measure):
    """Output noise: the model is released as a service that adds fixed Gaussian noise to each answer.

    The noise is a function of state, time and a secret of the model, so that asking again gives the same answer; only other
    states, such as those of other draws of ε, average it out. Weights are not released; gradients of the answers are, as they
    are those of the model without noise.
    """

    name = "output-noise"
    paper = "folklore"
    stage = "release"
    adaptive = ("averaged",)

    std: float = Field(0.1, ge=0, le=100, description="standard deviation of the noise on ε_n, which has unit variance")

    def release(self, model: Model) -> Model:
        """ε_θ + σ ξ, ξ ~ N(0, I)."""
        size = model.process.order * torch.Size(model.shape).numel()
        directions = torch.randn(size, DIRECTIONS, dtype=torch.float64)
        noise = FixedNoise(
            directions=(directions / directions.norm(dim=0)).to(model.device),
            offset=torch.rand(DIRECTIONS + 1, dtype=torch.float64).to(model.device),
            secret=int(torch.randint(1 << 62, ())),
        )
        model.denoiser = NoisyDenoiser(model.denoiser, self.std, noise)
        return model


@dataclass(frozen=True)
class FixedNoise:
    """Normal numbers that are a function of state and time.

    A hash of every bit would be one too, but a network's answers, and with them the states of an attack that goes step by
    step, differ in their last bits from batch to batch. So a state is known by the cell of a lattice in which its projections
    on a few random directions lie.

    Attributes:
        directions: (n · dimensions, D), of unit length.
        offset: (D + 1,), the place of the lattice, from 0 to 1.
        secret: any number.
    """

    directions: Tensor
    offset: Tensor
    secret: int

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        """For states (B, n, *item) under a kernel of B times or of one, (B, *item) float64."""
        time = kernel.log_snr.expand(len(u))[:, None]
        cells = (torch.cat([u.flatten(1) @ self.directions, time], 1) / CELL + self.offset).floor().long()
        state = torch.full_like(cells[:, 0], self.secret)
        for cell in cells.unbind(1):
            state = _mixed(state ^ _mixed(cell + GOLDEN))
        counter = torch.arange(1, 1 + u.shape[2:].numel(), device=u.device)
        bits = _mixed(state[:, None] + GOLDEN * counter) >> 12 & (1 << 52) - 1
        noise: Tensor = torch.special.ndtri((bits.double() + 0.5) / (1 << 52))
        return noise.view(len(u), *u.shape[2:])


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele et al., OOPSLA 2014) on int64, whose products wrap around."""
    x = (x ^ (x >> 30 & (1 << 34) - 1)) * FIRST
    x = (x ^ (x >> 27 & (1 << 37) - 1)) * SECOND
    return x ^ (x >> 31 & (1 << 33) - 1)


class NoisyDenoiser:
    """A denoiser with fixed noise on its answers.

    Args:
        inner: the denoiser.
        std: standard deviation of the noise.
        noise: gives the noise of a state.
    """

    def __init__(self, inner: Denoiser, std: float, noise: FixedNoise) -> None:
        self.inner, self.std, self.noise = inner, std, noise
        self.data_variance: float = getattr(inner, "data_variance", 0.0)

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        """See ``Denoiser``."""
        return self.inner(u, kernel) + self.std * self.noise(u.detach(), kernel)
