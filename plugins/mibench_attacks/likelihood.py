"""Likelihood."""

import math
from typing import ClassVar

from pydantic import Field

from mibench import Attack, NotApplicable
from mibench.diffusion.likelihood import log_density, probes


class Likelihood(Attack):
    """Likelihood by the probability-flow ODE, the auxiliaries marginalised by a lower bound."""

    name: ClassVar = "likelihood"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2011.13456; Hu & Pang 2023"
    access: ClassVar = "gradients"
    published: ClassVar = "ode"

    evaluations: int = Field(32, ge=2, le=10_000, description="network evaluations along the path")
    probes: int = Field(1, ge=1, le=1000, description="Hutchinson probes, where n·d > 8")
    draws: int = Field(2, ge=1, le=1000, description="draws of the auxiliaries, for order 2 and above")

    def score(self, model, x, ctx):
        """Log p(x) in nats; for n > 1 the mean over draws a_r ~ N(0, v_0) of log p(x, a_r) − log p(a_r)."""
        process = model.process
        vectors, weight = probes(model, self.probes, ctx.generator("probes"))
        if process.order == 1:
            return {"ode": log_density(model, model.at_rest(x), vectors, weight, self.evaluations)}
        variance = process.initial[1:].to(model.device).view(-1, *[1] * len(model.shape))
        if (variance == 0).any():
            raise NotApplicable("the auxiliaries start with variance 0, so the joint density is singular")
        total = 0.0
        for draw in ctx.noise("auxiliaries", self.draws, process.order - 1, *model.shape) * variance.sqrt():
            u = model.at_rest(x)
            u[:, 1:] = draw
            entropy = 0.5 * (draw.square() / variance + (2 * math.pi * variance).log()).sum()
            total = total + log_density(model, u, vectors, weight, self.evaluations) + entropy
        return {"ode": total / self.draws}
