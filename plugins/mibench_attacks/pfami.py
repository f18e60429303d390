"""Probabilistic fluctuation."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mibench import Attack, Context, Model


class PFAMI(Attack):
    """Probabilistic fluctuation: how much the loss rises when the sample is moved a little."""

    name = "pfami"
    title = "PFAMI"
    paper = "arXiv 2308.12143"
    published = "mean"

    neighbours: int = Field(10, ge=1, le=1000, description="neighbours M of each sample")
    draws: int = Field(1, ge=1, le=10_000, description="noise draws R, the same for sample and neighbours")
    times: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        tuple(k / 20 for k in range(10)), min_length=1, description="fractions of the horizon; 0 is the smallest time"
    )

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Mean_j [L(x'_j) − L(x)] / L(x) with L the loss at a time; "mean" takes L averaged over times.

        L stands for −log p, so a member, near a local minimum of L, scores high. (M + 1) · K · R evaluations.
        L is at least 1e-8 per dimension, since anything smaller is rounding.
        """
        moved = ctx.modality.neighbours(x, self.neighbours, ctx.generator("neighbours"))
        losses = torch.stack([self._losses(model, one, ctx) for one in (x, *moved)])
        losses = torch.cat([losses, losses.mean(1, keepdim=True)], dim=1).clamp_min(1e-8)
        rise = (losses[1:] / losses[0] - 1).mean(0)
        return dict(zip([*(f"t={time:g}" for time in self.times), "mean"], rise, strict=True))

    def _losses(self, model: Model, x: Tensor, ctx: Context) -> Tensor:
        """The loss at each time, (K, B)."""
        noise = ctx.noise("draws", self.draws, *model.state_shape)
        losses = []
        for time in self.times:
            t = max(time * model.process.horizon, model.process.t_min)
            drawn = [model.residual(x, eps, t).flatten(1).square().mean(1) for eps in noise]
            losses.append(sum(drawn, torch.zeros(())) / self.draws)
        return torch.stack(losses)
