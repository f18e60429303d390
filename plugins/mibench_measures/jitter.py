"""Jitter."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Measure


class Jitter(Measure):
    """Jitter: each step sees its members with fresh Gaussian noise."""

    name = "jitter"
    paper = "folklore; Bishop, Neural Computation 7, 1995; compare arXiv 2502.21278, which adds noise once"
    stage = "data"
    adaptive = ("averaged",)

    std: float = Field(0.1, ge=0, le=10, description="standard deviation of the noise")

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """X + σ ξ, ξ ~ N(0, I)."""
        return x + self.std * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
