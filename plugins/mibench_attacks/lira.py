"""LiRA."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PrivateAttr

from mibench import Attack
from mibench.errors import NotApplicable
from mibench_attacks.loss import Loss
from mibench_attacks.options import Time

FLOOR = 1e-8
LEAST = 1e-3


class LiRA(Attack):
    """LiRA: how much likelier the log loss is among shadow models that hold the sample than among those that do not."""

    name: ClassVar = "lira"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2112.03570; 2301.13188"
    published: ClassVar = "t=0.1"

    mode: Literal["online", "offline"] = Field("online", description="with models that hold the sample, or without")
    shadows: int | None = Field(None, ge=2, le=4096, description="shadow models; by default 16 online, 8 offline")
    variance: Literal["pooled", "sample"] = Field("pooled", description="one for all samples, or one for each")
    draws: int = Field(16, ge=1, le=10_000, description="noise draws R")
    times: tuple[Time, ...] = Field((0.02, 0.05, 0.1, 0.2), min_length=1, description="fractions of the horizon")

    _pooled: dict[str, Any] = PrivateAttr()

    def shadow_models(self):
        return self.shadows or {"online": 16, "offline": 8}[self.mode], self.mode

    @torch.no_grad()
    def fit(self, model, members, nonmembers, ctx):
        """What the paper shares between samples where models are few: the two standard deviations, within a sample.

        They come from the shadow models' losses on the calibration samples; which of these are members plays no part.
        """
        x = torch.cat([members, nonmembers])
        held, losses = self._known(x, ctx)
        self._pooled = {}
        for setting, values in losses.items():
            sides = {"out": _moments(values, ~held)} | ({"in": _moments(values, held)} if self.mode == "online" else {})
            spreads = {side: _spread(*found) for side, found in sides.items()}
            gap = 0.0
            if self.mode == "online":
                both = held.any(0) & ~held.all(0)
                gap = (sides["in"][1] - sides["out"][1])[both].mean()
            self._pooled[setting] = spreads, gap, values[~held].mean()

    def score(self, model, x, ctx):
        """Online log N(ℓ; μ_in, σ_in) − log N(ℓ; μ_out, σ_out), offline (μ_out − ℓ)/σ_out; "sum" adds up the times.

        ℓ is the log of the loss, a mean over draws. The means are the sample's own. Of a sample that no shadow model holds,
        μ_in is μ_out less what holding lowers the loss by on average, and likewise μ_out where all hold it (offline: the
        mean over all samples). The offline form orders samples as the paper's Pr[ℓ' > ℓ] does, without its saturation.
        T·R evaluations of each model.
        """
        held, losses = self._known(x, ctx)
        own, scores = self._losses(model, x, ctx), {}
        for setting, values in losses.items():
            spreads, gap, centre = self._pooled[setting]
            outside, mean_out, squares_out = _moments(values, ~held)
            inside, mean_in, squares_in = _moments(values, held)
            if self.mode == "offline":
                mean_out = torch.where(outside > 0, mean_out, centre)
                scores[setting] = (mean_out - own[setting]) / self._sigma(spreads["out"], outside, squares_out)
                continue
            mean_in = torch.where(inside > 0, mean_in, mean_out + gap)
            mean_out = torch.where(outside > 0, mean_out, mean_in - gap)
            sigma_in = self._sigma(spreads["in"], inside, squares_in)
            sigma_out = self._sigma(spreads["out"], outside, squares_out)
            scores[setting] = _log_normal(own[setting], mean_in, sigma_in) - _log_normal(
                own[setting], mean_out, sigma_out
            )
        return scores | {"sum": sum(scores.values())}

    def _known(self, x, ctx):
        """Which shadow models hold which samples, (K, B), and for each setting their log losses, (K, B)."""
        shadows = ctx.shadows(*self.shadow_models())
        held = torch.stack([shadow.holds(x) for shadow in shadows]).to(x.device)
        losses = [self._losses(shadow.model, x, ctx) for shadow in shadows]
        return held, {setting: torch.stack([found[setting] for found in losses]) for setting in losses[0]}

    def _losses(self, model, x, ctx):
        """The logarithms of the losses; what lies below 1e-8 per dimension is rounding."""
        found = Loss(draws=self.draws, times=self.times).score(model, x, ctx)
        return {setting: (-values / x[0].numel() + FLOOR).log() for setting, values in found.items()}

    def _sigma(self, pooled, count, squares):
        if self.variance == "pooled":
            return pooled
        return torch.where(count > 1, (squares / (count - 1).clamp_min(1)).sqrt().clamp_min(LEAST), pooled)


def _moments(values, chosen):
    """Of the chosen among values (K, B), per sample: how many, their mean, their squared distances from it summed."""
    count = chosen.sum(0)
    mean = (values * chosen).sum(0) / count.clamp_min(1)
    return count, mean, ((values - mean).square() * chosen).sum(0)


def _spread(count, mean, squares):
    """The standard deviation within a sample, pooled over samples."""
    freedom = (count - 1).clamp_min(0).sum()
    if freedom == 0:
        raise NotApplicable("no calibration sample is held, or left out, by two shadow models; train more of them")
    return (squares.sum() / freedom).sqrt().clamp_min(LEAST)


def _log_normal(value, mean, sigma):
    """The log density of N(mean, sigma²), up to a constant."""
    return -((value - mean) / sigma).square() / 2 - sigma.log()
