"""Distance to generated samples."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Attack, Context, Model


class NearestSamples(Attack):
    """Nearest generated samples: a member lies closer to what the model draws."""

    name = "nn"
    title = "nearest neighbour"
    paper = "arXiv 1909.03935"
    access = "samples"
    published = "k=5"

    count: int = Field(1000, ge=10, le=1_000_000, description="generated samples")

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Minus the sum of the distances to the 5 nearest generated samples, and to the nearest; no evaluations."""
        drawn = ctx.samples(self.count).flatten(1).to(x)
        # the fast form subtracts squares, whose rounding depends on the batch
        distance = torch.cdist(x.flatten(1), drawn, compute_mode="donot_use_mm_for_euclid_dist")
        near = distance.topk(5, largest=False, sorted=True).values
        return {f"k={k}": -near[:, :k].sum(1) for k in (1, 5)}
