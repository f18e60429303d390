"""Quantile regression."""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.errors import NotApplicable
from mibench.metrics.auroc import auroc
from mibench_attacks.loss import Loss
from mibench_attacks.secmi import SecMI

BATCH = 250


class Quantile(Attack):
    """Quantile regression: a score against the quantile that non-members which look like the sample reach."""

    name = "quantile"
    paper = "arXiv 2312.05140"
    published = "q=0.99"

    base: Literal["secmi", "loss"] = Field(
        "secmi", description="the score; its time is chosen on the calibration split"
    )
    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.9, 0.95, 0.99), min_length=1, description="quantiles α"
    )
    count: int = Field(1000, ge=10, le=1_000_000, description="auxiliary non-members to regress on, at most")
    components: int = Field(16, ge=1, le=1000, description="principal components of a sample that the regression sees")

    _time: str = PrivateAttr()
    _basis: tuple[Any, Any] = PrivateAttr()
    _regressions: list[Any] = PrivateAttr()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Choose the time of the base score, and regress its quantiles on the principal components of non-members."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        if ctx.auxiliary is None or len(ctx.auxiliary) < 10:
            raise NotApplicable("quantile regression needs at least 10 auxiliary non-members")
        x = ctx.auxiliary[: self.count].to(model.device, torch.float64)
        inside, outside = (self._errors(model, side, ctx) for side in (members, nonmembers))
        self._time = min(inside, key=lambda name: auroc(inside[name].cpu().numpy(), outside[name].cpu().numpy()))
        flat = x.flatten(1).cpu().numpy()
        centre = flat.mean(0)
        self._basis = centre, np.linalg.svd(flat - centre, full_matrices=False)[2][: self.components]
        errors = torch.cat([self._errors(model, part, ctx)[self._time] for part in torch.split(x, BATCH)])
        logs = errors.log().cpu().numpy()
        self._regressions = [
            HistGradientBoostingRegressor(
                loss="quantile", quantile=1 - level, max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=0
            ).fit(self._features(x), logs)
            for level in self.levels
        ]

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−error / its (1 − α)-quantile at x, which orders samples as −log error less its α-quantile does.

        As many evaluations as the base takes.
        """
        error, features = self._errors(model, x, ctx)[self._time], self._features(x)
        logs = [torch.from_numpy(regression.predict(features)).to(error) for regression in self._regressions]
        return {f"q={level:g}": -error * (-log).exp() for level, log in zip(self.levels, logs, strict=True)}

    @torch.no_grad()
    def _errors(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Minus the base's scores, at least 1e-12: anything smaller is rounding, and occurs only on the exact model."""
        base = SecMI() if self.base == "secmi" else Loss(draws=8)
        return {setting: (-values).clamp_min(1e-12) for setting, values in base.score(model, x, ctx).items()}

    def _features(self, x: Tensor) -> Any:
        centre, basis = self._basis
        return ((x.flatten(1).cpu().numpy() - centre)[:, None] * basis).sum(-1)
