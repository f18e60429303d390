"""Loss threshold."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Attack, Context, Model
from mibench_attacks.options import Time


class Loss(Attack):
    """Loss threshold: the training loss at one time, averaged over noise that all samples share."""

    name = "loss"
    paper = "Matsumoto et al. 2023; Hu & Pang 2023"
    published = "t=0.35"

    draws: int = Field(32, ge=1, le=10_000, description="noise draws R")
    times: tuple[Time, ...] = Field(
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35), min_length=1, description="fractions of the horizon"
    )

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−‖ε_θ(u_t, t) − ε_n‖² with u_t from the marginal kernel, as in training; R evaluations per time."""
        noise = ctx.noise("draws", self.draws, *model.state_shape)
        scores = {}
        for time in self.times:
            residuals = (model.residual(x, eps, time * model.process.horizon) for eps in noise)
            losses = [residual.flatten(1).square().sum(1) for residual in residuals]
            scores[f"t={time:g}"] = -sum(losses, torch.zeros(())) / self.draws
        return scores
