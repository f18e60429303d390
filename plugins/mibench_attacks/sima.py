"""SimA."""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from mibench import Attack
from mibench_attacks.options import Time


class SimA(Attack):
    """SimA: the norm of the network's answer to the sample itself, without noise."""

    name: ClassVar = "sima"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2509.25003"
    published: ClassVar = "t=0.05"

    p: float = Field(4.0, ge=1, le=100, description="of the norm")
    times: tuple[Time, ...] = Field(
        (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2), min_length=1, description="fractions of the horizon"
    )
    path: Literal["rest", "mean", "draws"] = Field(
        "rest", description="the state: (x, 0), the mean of u_t, or the mean answer over draws of u_t (SimA-MC)"
    )
    draws: int = Field(16, ge=1, le=10_000, description="noise draws, where the path is draws")

    def score(self, model, x, ctx):
        """−‖ε_θ((x, 0), t)‖_p, one evaluation per time; on the mean path the state is E[:, 0] x.

        With draws it is −‖mean_r [ε_θ(u_t^r, t) − ε_n^r]‖_p: the draws' own mean, which is 0 in the limit, is taken off.
        """
        noise = ctx.noise("draws", self.draws, model.process.order, *model.shape)
        scores = {}
        for time in self.times:
            t = max(time * model.process.horizon, model.process.t_min)
            if self.path == "draws":
                answers = sum(model.eps(model.noised(x, eps, t), t) - eps[-1] for eps in noise) / self.draws
            else:
                u = model.at_rest(x) if self.path == "rest" else model.noised(x, torch.zeros_like(noise[0]), t)
                answers = model.eps(u, t)
            scores[f"t={time:g}"] = -answers.flatten(1).norm(p=self.p, dim=1)
        return scores
