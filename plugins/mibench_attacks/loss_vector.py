"""Loss vector."""

from typing import ClassVar

import torch
from pydantic import Field, PrivateAttr

from mibench import Attack
from mibench_attacks.classifier import Linear
from mibench_attacks.options import Time


class LossVector(Attack):
    """Loss vector: a classifier of the losses at several times and fixed draws, fitted on the calibration split."""

    name: ClassVar = "loss-vector"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2503.12008"
    published: ClassVar = "classifier"

    times: tuple[Time, ...] = Field((0.005, 0.01, 0.015), min_length=1, description="fractions of the horizon")
    draws: int = Field(30, ge=1, le=10_000, description="noise draws R at each time")
    strength: float = Field(0.01, gt=0, le=1e6, description="inverse strength of the classifier's ridge")

    _classifier: Linear = PrivateAttr()

    def fit(self, model, members, nonmembers, ctx):
        """Logistic regression on the standardised logarithms of the losses."""
        sides = [self._features(model, side, ctx) for side in (members, nonmembers)]
        self._classifier = Linear.fit(*sides, self.strength)

    def score(self, model, x, ctx):
        """Its log-odds, and, with nothing learnt, −Σ log ‖ε_θ(u_t, t) − ε_n‖²; K · R evaluations."""
        features = self._features(model, x, ctx)
        return {"classifier": self._classifier(features), "sum": -features.sum(1)}

    @torch.no_grad()
    def _features(self, model, x, ctx):
        """The logarithms of the losses, (B, K · R); what lies below 1e-8 per dimension is rounding."""
        columns = []
        noise = ctx.noise("draws", self.draws, model.process.order, *model.shape)
        for time in self.times:
            t = time * model.process.horizon
            for eps in noise:
                error = (model.eps(model.noised(x, eps, t), t) - eps[-1]).flatten(1).square().mean(1)
                columns.append((error + 1e-8).log())
        return torch.stack(columns, dim=1)
