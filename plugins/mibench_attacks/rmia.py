"""RMIA."""

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.errors import NotApplicable
from mibench.kinds import ShadowKind
from mibench_attacks.loss import Loss
from mibench_attacks.options import Time

BATCH = 250


class RMIA(Attack):
    """RMIA: the share of auxiliary samples whose likelihood ratio to reference models the sample's own exceeds."""

    name = "rmia"
    title = "RMIA"
    paper = "arXiv 2312.03262"
    published = "t=0.1"

    references: int = Field(4, ge=1, le=4096, description="reference models, trained on auxiliary data")
    gamma: float = Field(1.0, gt=0, le=1e6, description="γ, by how much a ratio must exceed another")
    a: float = Field(
        0.3, ge=0, le=1, description="p of models that hold the sample is approximated by a·p + 1 − a; 1: by p"
    )
    count: int = Field(1000, ge=10, le=1_000_000, description="auxiliary samples to compare with, at most")
    draws: int = Field(16, ge=1, le=10_000, description="noise draws R")
    times: tuple[Time, ...] = Field((0.02, 0.05, 0.1, 0.2), min_length=1, description="fractions of the horizon")

    _scale: dict[str, Tensor] = PrivateAttr()
    _ratios: dict[str, Tensor] = PrivateAttr()

    def shadow_models(self) -> tuple[int, ShadowKind]:
        return self.references, "offline"

    @torch.no_grad()
    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """The ratios of the auxiliary samples, (K + 1)·T·R evaluations of each; the labels play no part."""
        if ctx.auxiliary is None or len(ctx.auxiliary) < 10:
            raise NotApplicable("RMIA needs at least 10 auxiliary samples")
        z = ctx.auxiliary[: self.count].to(model.device, torch.float64)
        parts = [self._losses(model, part, ctx) for part in torch.split(z, BATCH)]
        own = {setting: torch.cat([part[0][setting] for part in parts]) for setting in parts[0][0]}
        reference = {setting: torch.cat([part[1][setting] for part in parts], 1) for setting in own}
        out = torch.cat([part[2] for part in parts], 1)
        usable = out.any(0)
        if not usable.any():
            raise NotApplicable("every reference model was trained on every auxiliary sample")
        self._scale = {setting: values[out].mean() for setting, values in reference.items()}
        self._ratios = {s: self._ratio(s, own[s], reference[s], out)[usable].sort().values for s in own}

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The share of z with LR(x) / LR(z) ≥ γ, where LR(x) = p(x | θ) / p(x); T·R evaluations of each model.

        p(x | θ) = exp(−loss / s), with s the mean loss of reference models on auxiliary samples that they do not hold, so
        that p has no unit and does not shrink with the dimension. p(x) = ½ ((1 + a) p_out + 1 − a), where p_out is the mean
        over reference models that do not hold x.
        """
        own, reference, out = self._losses(model, x, ctx)
        scores = {}
        for setting, ratios in self._ratios.items():
            ratio = self._ratio(setting, own[setting], reference[setting], out) / self.gamma
            scores[setting] = torch.searchsorted(ratios, ratio, right=True).double() / len(ratios)
        return scores

    def _losses(self, model: Model, x: Tensor, ctx: Context) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """By setting the model's losses (B,) and the reference models' (K, B), and which of them do not hold x, (K, B)."""
        references = ctx.shadows(*self.shadow_models())
        base = Loss(draws=self.draws, times=self.times)
        own = {setting: -values for setting, values in base.score(model, x, ctx).items()}
        scores = [base.score(reference.model, x, ctx) for reference in references]
        losses = {setting: -torch.stack([each[setting] for each in scores]) for setting in own}
        return own, losses, ~torch.stack([reference.holds(x) for reference in references]).to(x.device)

    def _ratio(self, setting: str, own: Tensor, reference: Tensor, out: Tensor) -> Tensor:
        """LR (B,); for a sample that all reference models hold, p_out is the mean over all of them."""
        out = out | ~out.any(0)
        p_out = ((-reference / self._scale[setting]).exp() * out).sum(0) / out.sum(0)
        return (-own / self._scale[setting]).exp() / (((1 + self.a) * p_out + 1 - self.a) / 2)
