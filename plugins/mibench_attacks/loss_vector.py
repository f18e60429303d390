"""Loss vector."""

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model
from mibench_attacks.classifier import Linear
from mibench_attacks.options import Time


class LossVector(Attack):
    """Loss vector: a classifier of the losses at several times and fixed draws, fitted on the calibration split."""

    name = "loss-vector"
    paper = "arXiv 2503.12008"
    published = "classifier"

    times: tuple[Time, ...] = Field((0.005, 0.01, 0.015), min_length=1, description="fractions of the horizon")
    draws: int = Field(30, ge=1, le=10_000, description="noise draws R at each time")
    strength: float = Field(0.01, gt=0, le=1e6, description="inverse strength of the classifier's ridge")

    _classifier: Linear = PrivateAttr()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Logistic regression on the standardised logarithms of the losses."""
        known, unknown = (self._features(model, x, ctx) for x in (members, nonmembers))
        self._classifier = Linear.fit(known, unknown, self.strength)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The classifier's log-odds, and, with nothing learnt, −Σ log ‖ε_θ(u_t, t) − ε_n‖²; K · R evaluations."""
        features = self._features(model, x, ctx)
        return {"classifier": self._classifier(features), "sum": -features.sum(1)}

    @torch.no_grad()
    def _features(self, model: Model, x: Tensor, ctx: Context) -> Tensor:
        """The logarithms of the losses, (B, K · R); 1e-8 per dimension is added, since anything smaller is rounding."""
        noise = ctx.noise("draws", self.draws, *model.state_shape)
        residuals = (model.residual(x, eps, t * model.process.horizon) for t in self.times for eps in noise)
        return torch.stack([(residual.flatten(1).square().mean(1) + 1e-8).log() for residual in residuals], dim=1)
