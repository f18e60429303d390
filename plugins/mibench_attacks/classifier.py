"""A linear classifier of samples by features of the model's answers, for attacks that learn."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear:
    """Logistic regression on standardised features.

    Attributes:
        centre, scale: (F,), mean and standard deviation of the non-members' features.
        weights: (F,).
    """

    centre: Tensor
    scale: Tensor
    weights: Tensor

    @classmethod
    def fit(cls, members: Tensor, nonmembers: Tensor, strength: float) -> "Linear":
        """Fit to features (M, F) and (N, F), both classes weighted alike; ``strength`` is 1/λ of the ridge."""
        from sklearn.linear_model import LogisticRegression

        centre, scale = nonmembers.mean(0), nonmembers.std(0).clamp_min(0.01)
        features = (torch.cat([members, nonmembers]) - centre) / scale
        labels = [1] * len(members) + [0] * len(nonmembers)
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        model.fit(features.cpu().numpy(), labels)
        return cls(centre, scale, torch.from_numpy(model.coef_[0]).to(features))

    def standardised(self, features: Tensor) -> Tensor:
        """Features (B, F) in the non-members' standard deviations."""
        return (features - self.centre) / self.scale

    def __call__(self, features: Tensor) -> Tensor:
        """The log-odds, up to a constant, (B,)."""
        return (self.standardised(features) * self.weights).sum(1)
