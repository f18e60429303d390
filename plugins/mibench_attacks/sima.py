"""SimA."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mibench import Attack, Context, Model
from mibench_attacks.options import Time


class SimA(Attack):
    """SimA: the norm of the network's answer to the sample itself, without noise."""

    name = "sima"
    title = "SimA"
    paper = "arXiv 2509.25003"
    published = "t=0.05"

    p: float = Field(4.0, ge=1, le=100, description="of the norm")
    times: tuple[Time, ...] = Field(
        (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2), min_length=1, description="fractions of the horizon"
    )
    path: Literal["rest", "mean", "draws"] = Field(
        "rest", description="the state: (x, 0), the mean of u_t, or the mean answer over draws of u_t (SimA-MC)"
    )
    draws: int = Field(16, ge=1, le=10_000, description="noise draws, where the path is draws")

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−‖ε_θ((x, 0), t)‖_p, one evaluation per time; on the mean path the state is E[:, 0] x.

        With draws it is −‖mean_r [ε_θ(u_t^r, t) − ε_n^r]‖_p: the draws' own mean, which is 0 in the limit, is subtracted.
        """
        scores = {}
        for time in self.times:
            t = max(time * model.process.horizon, model.process.t_min)
            scores[f"t={time:g}"] = -self._answer(model, x, t, ctx).flatten(1).norm(p=self.p, dim=1)
        return scores

    def _answer(self, model: Model, x: Tensor, t: float, ctx: Context) -> Tensor:
        if self.path == "rest":
            return model.eps(model.at_rest(x), t)
        if self.path == "mean":
            return model.eps(model.noised(x, x.new_zeros(model.state_shape), t), t)
        noise = ctx.noise("draws", self.draws, *model.state_shape)
        return sum((model.residual(x, eps, t) for eps in noise), torch.zeros(())) / self.draws
