"""Proximal initialisation attack."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mibench import Attack, Context, Model
from mibench_attacks.options import Time


class PIA(Attack):
    """Proximal initialisation: the network's answer at t ≈ 0 against its answer at t, with the first answer as the noise."""

    name = "pia"
    title = "PIA"
    paper = "arXiv 2305.18355; 2509.14225, Algorithm 1"
    published = "mean"

    form: Literal["eps", "drift"] = Field("eps", description="compare ε, or measure the drift as the HOLD paper does")
    p: float = Field(4.0, ge=1, le=100, description="of the norm")
    times: tuple[Time, ...] = Field(
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3), min_length=1, description="fractions of the horizon"
    )
    auxiliaries: Literal["zeros", "sampled"] = Field("zeros", description="at their mean, or averaged over draws")
    draws: int = Field(8, ge=1, le=10_000, description="draws of the auxiliaries, where they are sampled")

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−‖ε_θ(u_t, t) − ε_n‖_p at each time, or −‖drift‖_p; "mean" is the mean over times."""
        sampled = self.auxiliaries == "sampled" and model.process.initial[1:].any()
        scores = self._sampled(model, x, ctx) if sampled else self._at_rest(model, x)
        return scores | {"mean": torch.stack(list(scores.values())).mean(0)}

    def _at_rest(self, model: Model, x: Tensor) -> dict[str, Tensor]:
        """The auxiliaries at zero: u_t = E[:, 0] x + L (0, …, 0, ε_n), ε_n := ε_θ((x, 0), t_min); K + 1 evaluations."""
        eps = model.at_rest(torch.zeros_like(x))
        eps[:, -1] = self.first_answer(model, model.at_rest(x))
        times = {f"t={time:g}": time * model.process.horizon for time in self.times}
        # 0 − size and not −size: where the size is 0, the sign of the zero is part of the digest of the scores
        return {setting: 0 - self._size(model, x, model.noised(x, eps, t), t) for setting, t in times.items()}

    def _sampled(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The mean over draws u_0 = (x, v), v ~ N(0, v_0), with u_t = E u_0 + L_driven (0, …, 0, ε_n); R (K + 1) evaluations.

        ε_n := ε_θ(u_0, t_min).
        """
        process = model.process
        noise = ctx.noise("auxiliaries", self.draws, *model.state_shape)
        noise = noise * process.initial.sqrt().to(model.device).view(-1, *[1] * len(model.shape))
        noise[:, 0] = 0
        scores = {f"t={time:g}": torch.zeros(len(x), dtype=torch.float64, device=model.device) for time in self.times}
        for draw in noise:
            start = model.at_rest(x) + draw
            first = self.first_answer(model, start)
            for time in self.times:
                t = time * process.horizon
                at = torch.tensor([t], dtype=torch.float64)
                u = torch.einsum("ij,bj...->bi...", process.transition(at)[0].to(model.device), start)
                u[:, -1] += process.cholesky(at, driven=True)[0, -1, -1].to(model.device) * first
                scores[f"t={time:g}"] -= self._size(model, x, u, t) / self.draws
        return scores

    def first_answer(self, model: Model, start: Tensor) -> Tensor:
        """ε_θ at t_min, which stands for the noise."""
        return model.eps(start, model.process.t_min)

    def _size(self, model: Model, x: Tensor, u: Tensor, t: float) -> Tensor:
        """‖ε_θ(u_t, t) − ε_n‖_p with the noise ε_n = [L⁻¹ (u_t − E[:, 0] x)]_n of the state, or ‖drift‖_p, (B,)."""
        answer, kernel = model.eps(u, t), model.kernel(t)
        if self.form == "drift":
            residual = drift(model, u, answer, t)
        else:
            centred = u - torch.einsum("i,b...->bi...", kernel.mean_coef[0], x)
            residual = answer - torch.einsum("i,bi...->b...", kernel.inverse[0, -1], centred)
        size: Tensor = residual.flatten(1).norm(p=self.p, dim=1)
        return size


def drift(model: Model, u: Tensor, eps: Tensor, t: float) -> Tensor:
    """The probability flow's drift F u_t − ½ G Gᵀ S_θ with S_θ = −ε_θ / L_nn, (B, n, *item) (2509.14225, Algorithm 1)."""
    process = model.process
    flow = torch.einsum("ij,bj...->bi...", process.F.to(model.device), u)
    flow[:, -1] += process.G[-1].item() ** 2 / 2 / model.kernel(t).factor[0, -1, -1] * eps
    return flow
