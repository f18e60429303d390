"""LiRA."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.errors import NotApplicable
from mibench.kinds import ShadowKind
from mibench_attacks.loss import Loss
from mibench_attacks.options import Time

FLOOR = 1e-8  # of a loss per dimension: anything smaller is rounding
SMALLEST_SIGMA = 1e-3


@dataclass(frozen=True)
class _Moments:
    """Of some shadow models' log losses, per sample (B,): how many, their mean, the sum of squared deviations from it."""

    count: Tensor
    mean: Tensor
    squares: Tensor


@dataclass(frozen=True)
class _Pooled:
    """What samples share where models are few.

    Attributes:
        sigma_in, sigma_out: the standard deviation within a sample, over models that hold it and that do not.
        gap: by how much holding a sample changes its log loss, on average (online).
        centre: the mean log loss over models that do not hold the sample.
    """

    sigma_in: Tensor
    sigma_out: Tensor
    gap: Tensor
    centre: Tensor


class LiRA(Attack):
    """LiRA: how much likelier the log loss is among shadow models that hold the sample than among those that do not."""

    name = "lira"
    title = "LiRA"
    paper = "arXiv 2112.03570; 2301.13188"
    published = "t=0.1"

    mode: Literal["online", "offline"] = Field("online", description="with models that hold the sample, or without")
    shadows: int | None = Field(None, ge=2, le=4096, description="shadow models; by default 16 online, 8 offline")
    variance: Literal["pooled", "sample"] = Field("pooled", description="one for all samples, or one for each")
    draws: int = Field(16, ge=1, le=10_000, description="noise draws R")
    times: tuple[Time, ...] = Field((0.02, 0.05, 0.1, 0.2), min_length=1, description="fractions of the horizon")

    _pooled: dict[str, _Pooled] = PrivateAttr()

    def shadow_models(self) -> tuple[int, ShadowKind]:
        return self.shadows or {"online": 16, "offline": 8}[self.mode], self.mode

    @torch.no_grad()
    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Pool the standard deviations over the calibration samples, from the shadow models' losses alone.

        Which samples are members of the target plays no part.
        """
        held, losses = self._shadow_losses(torch.cat([members, nonmembers]), ctx)
        self._pooled = {}
        for setting, values in losses.items():
            out = _moments(values, ~held)
            sigma_in = sigma_out = _pooled_sigma(out)
            gap = torch.zeros(())
            if self.mode == "online":
                inside, both = _moments(values, held), held.any(0) & ~held.all(0)
                sigma_in, gap = _pooled_sigma(inside), (inside.mean - out.mean)[both].mean()
            self._pooled[setting] = _Pooled(sigma_in, sigma_out, gap, values[~held].mean())

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Online log N(ℓ; μ_in, σ_in) − log N(ℓ; μ_out, σ_out), offline (μ_out − ℓ)/σ_out; "sum" adds up the times.

        ℓ is the log of the loss, a mean over draws. The means are the sample's own. Where no shadow model holds a sample,
        μ_in is μ_out plus the average gap between them, and likewise μ_out where all hold it (offline: the mean over all
        samples). The offline form orders samples as the paper's Pr[ℓ' > ℓ] does, without its saturation.
        T·R evaluations of each model.
        """
        held, losses = self._shadow_losses(x, ctx)
        own, scores = self._losses(model, x, ctx), {}
        for setting, values in losses.items():
            pooled, loss = self._pooled[setting], own[setting]
            inside, out = _moments(values, held), _moments(values, ~held)
            sigma_in, sigma_out = self._sigma(inside, pooled.sigma_in), self._sigma(out, pooled.sigma_out)
            if self.mode == "offline":
                scores[setting] = (torch.where(out.count > 0, out.mean, pooled.centre) - loss) / sigma_out
                continue
            mean_in = torch.where(inside.count > 0, inside.mean, out.mean + pooled.gap)
            mean_out = torch.where(out.count > 0, out.mean, mean_in - pooled.gap)
            scores[setting] = _log_normal(loss, mean_in, sigma_in) - _log_normal(loss, mean_out, sigma_out)
        return scores | {"sum": sum(scores.values(), torch.zeros(()))}

    def _shadow_losses(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """Which shadow models hold which samples, (K, B), and for each setting their log losses, (K, B)."""
        shadows = ctx.shadows(*self.shadow_models())
        held = torch.stack([shadow.holds(x) for shadow in shadows]).to(x.device)
        losses = [self._losses(shadow.model, x, ctx) for shadow in shadows]
        return held, {setting: torch.stack([each[setting] for each in losses]) for setting in losses[0]}

    def _losses(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The log losses of one model, (B,) for each setting."""
        scores = Loss(draws=self.draws, times=self.times).score(model, x, ctx)
        return {setting: (-values / x[0].numel() + FLOOR).log() for setting, values in scores.items()}

    def _sigma(self, moments: _Moments, pooled: Tensor) -> Tensor:
        if self.variance == "pooled":
            return pooled
        own = (moments.squares / (moments.count - 1).clamp_min(1)).sqrt().clamp_min(SMALLEST_SIGMA)
        return torch.where(moments.count > 1, own, pooled)


def _moments(values: Tensor, chosen: Tensor) -> _Moments:
    """Over the chosen models of (K, B)."""
    count = chosen.sum(0)
    mean = (values * chosen).sum(0) / count.clamp_min(1)
    return _Moments(count, mean, ((values - mean).square() * chosen).sum(0))


def _pooled_sigma(moments: _Moments) -> Tensor:
    """The standard deviation within a sample, pooled over samples, ()."""
    freedom = (moments.count - 1).clamp_min(0).sum()
    if freedom == 0:
        raise NotApplicable("no calibration sample is held, or left out, by two shadow models; train more of them")
    return (moments.squares.sum() / freedom).sqrt().clamp_min(SMALLEST_SIGMA)


def _log_normal(value: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """The log density of N(mean, sigma²), up to a constant."""
    return -((value - mean) / sigma).square() / 2 - sigma.log()
