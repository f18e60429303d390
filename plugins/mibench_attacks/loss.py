"""Loss threshold."""

from typing import ClassVar

from pydantic import Field

from mibench import Attack
from mibench_attacks.options import Time


class Loss(Attack):
    """Loss threshold: the training loss at one time, averaged over noise that all samples share."""

    name: ClassVar = "loss"
    version: ClassVar = 1
    paper: ClassVar = "Matsumoto et al. 2023; Hu & Pang 2023"
    published: ClassVar = "t=0.35"

    draws: int = Field(32, ge=1, le=10_000, description="noise draws R")
    times: tuple[Time, ...] = Field(
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35), min_length=1, description="fractions of the horizon"
    )

    def score(self, model, x, ctx):
        """−‖ε_θ(u_t, t) − ε_n‖² with u_t from the marginal kernel, as in training; R evaluations per time."""
        noise = ctx.noise("draws", self.draws, model.process.order, *model.shape)
        scores = {}
        for time in self.times:
            t = time * model.process.horizon
            errors = [(model.eps(model.noised(x, eps, t), t) - eps[-1]).flatten(1).square().sum(1) for eps in noise]
            scores[f"t={time:g}"] = -sum(errors) / self.draws
        return scores
