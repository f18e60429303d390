"""Mix-up."""

import functools

import torch
from pydantic import Field
from torch import Tensor

from mibench import Measure

QUANTILES = 4096


class Mixup(Measure):
    """Mix-up: each step sees convex combinations of pairs of members."""

    name = "mixup"
    paper = "arXiv 1710.09412"
    stage = "data"
    mixes = True
    adaptive = ("lira",)

    alpha: float = Field(0.2, ge=0.01, le=100, description="α of λ ~ Beta(α, α); a larger one mixes more evenly")

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """λ_i x_i + (1 − λ_i) x_j, with j a permutation of the batch; there are no labels to mix."""
        drawn = torch.randint(QUANTILES, (len(x),), generator=generator, device=x.device)
        others = torch.randperm(len(x), generator=generator, device=x.device)
        share = _quantiles(self.alpha).to(x)[drawn].view(-1, *[1] * (x.dim() - 1))
        return share * x + (1 - share) * x[others]


@functools.cache
def _quantiles(alpha: float) -> Tensor:
    """Of Beta(α, α), evenly spaced, float64; torch's own draws take no generator."""
    from scipy.stats import beta  # which takes half a second to import

    levels = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    return torch.from_numpy(beta.ppf(levels.numpy(), alpha, alpha))
