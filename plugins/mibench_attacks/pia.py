"""Proximal initialisation attack."""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from mibench import Attack
from mibench_attacks.options import Time


class PIA(Attack):
    """Proximal initialisation: the network's answer at t ≈ 0 against what it finds again at t."""

    name: ClassVar = "pia"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2305.18355; 2509.14225, Algorithm 1"
    published: ClassVar = "mean"

    form: Literal["eps", "drift"] = Field("eps", description="compare ε, or measure the drift as the HOLD paper does")
    p: float = Field(4.0, ge=1, le=100, description="of the norm")
    times: tuple[Time, ...] = Field(
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3), min_length=1, description="fractions of the horizon"
    )
    auxiliaries: Literal["zeros", "sampled"] = Field("zeros", description="at their mean, or averaged over draws")
    draws: int = Field(8, ge=1, le=10_000, description="draws of the auxiliaries, where they are sampled")

    def score(self, model, x, ctx):
        """−‖ε_θ(u_t, t) − ε_n‖_p, with ε_n := ε_θ(u_0, t_min) alone in the noise; "mean" is the mean over times.

        With the auxiliaries at zero u_t = E[:, 0] x + L (0, …, 0, ε_n). Where they are drawn, u_t = E u_0 + L_driven (0, …, 0,
        ε_n) and what the network should find is [L⁻¹ (u_t − E[:, 0] x)]_n. The drift form is −‖F u_t − ½ G Gᵀ S_θ‖_p.
        K + 1 evaluations for K times, times the draws.
        """
        process = model.process
        starts = [model.at_rest(x)]
        if self.auxiliaries == "sampled" and process.order > 1:
            spread = process.initial.sqrt().to(model.device).view(-1, *[1] * len(model.shape))
            noise = ctx.noise("auxiliaries", self.draws, process.order, *model.shape) * spread
            noise[:, 0] = 0
            starts = [starts[0] + draw for draw in noise]
        totals = {f"t={time:g}": torch.zeros(len(x), dtype=torch.float64, device=model.device) for time in self.times}
        for start in starts:
            first = self._first(model, start)
            for time in self.times:
                totals[f"t={time:g}"] -= self._residual(model, x, start, first, time * process.horizon) / len(starts)
        return totals | {"mean": torch.stack(list(totals.values())).mean(0)}

    def _first(self, model, start):
        return model.eps(start, model.process.t_min)

    def _residual(self, model, x, start, first, t):
        process, kernel = model.process, model.kernel(t)
        exact = torch.tensor([t], dtype=torch.float64)
        drawn = start[:, 1:].any()
        u = torch.einsum("ij,bj...->bi...", process.transition(exact)[0].to(model.device), start)
        factor = process.cholesky(exact, driven=True)[0].to(model.device) if drawn else kernel.factor[0]
        u[:, -1] += factor[-1, -1] * first
        eps = model.eps(u, t)
        if self.form == "drift":
            drift = torch.einsum("ij,bj...->bi...", process.F.to(model.device), u)
            drift[:, -1] += process.G[-1].item() ** 2 / 2 / kernel.factor[0, -1, -1] * eps
            return drift.flatten(1).norm(p=self.p, dim=1)
        centre = torch.einsum("i,b...->bi...", kernel.mean_coef[0], x)
        target = torch.einsum("i,bi...->b...", kernel.inverse[0, -1], u - centre)
        return (eps - target).flatten(1).norm(p=self.p, dim=1)
