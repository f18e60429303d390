"""Likelihood."""

import math

import torch
from pydantic import Field
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.diffusion.likelihood import elbo, log_density, probes


class Likelihood(Attack):
    """Likelihood by the probability-flow ODE, the auxiliaries marginalised, and the ELBO."""

    name = "likelihood"
    version = 2
    paper = "arXiv 2011.13456; Hu & Pang 2023"
    access = "gradients"
    published = "ode"

    evaluations: int = Field(50, ge=2, le=10_000, description="network evaluations along the path, and of the ELBO")
    tolerance: float = Field(0, ge=0, lt=1, description="above 0: adaptive steps per sample, to this error")
    probes: int = Field(1, ge=1, le=1000, description="Hutchinson probes, where n·d > 8")
    draws: int = Field(2, ge=1, le=1000, description="draws of the auxiliaries, for order 2 and above")

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Log p(x) in nats.

        For n > 1 the ODE gives w_r = log p(x, a_r) − log p(a_r) for draws a_r ~ N(0, v_0): ``ode`` is their mean, a lower
        bound in expectation, ``logmeanexp`` the logarithm of the mean of exp w_r. With v_0 = 0 the joint density is
        singular, and only the ELBO is given.
        """
        process = model.process
        bound = {"elbo": elbo(model, x, ctx.noise("elbo", self.evaluations, *model.state_shape))}
        vectors, weight = probes(model, self.probes, ctx.generator("probes"))

        def density(u: Tensor) -> Tensor:
            return log_density(model, u, vectors, weight, self.evaluations, self.tolerance)

        if process.order == 1:
            return {"ode": density(model.at_rest(x))} | bound
        variance = process.initial[1:].to(model.device).view(-1, *[1] * len(model.shape))
        if (variance == 0).any():
            return bound
        values = []
        for draw in ctx.noise("auxiliaries", self.draws, process.order - 1, *model.shape) * variance.sqrt():
            u = model.at_rest(x)
            u[:, 1:] = draw
            law = -0.5 * (draw.square() / variance + (2 * math.pi * variance).log()).sum()
            values.append(density(u) - law)
        drawn = torch.stack(values)
        return {"ode": drawn.mean(0), "logmeanexp": drawn.logsumexp(0) - math.log(len(drawn))} | bound
