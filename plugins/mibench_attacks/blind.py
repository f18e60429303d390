"""Blind baseline."""

from typing import Any

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model


class Blind(Attack):
    """A classifier on the data alone: where it leaves .5 the split itself tells members from non-members.

    Das et al. (arXiv 2406.16201).
    """

    name = "blind"
    paper = "arXiv 2406.16201"
    access = "data"
    published = "logistic"

    _classifier: Any = PrivateAttr()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Logistic regression, classes balanced, on at most 8 principal components, their squares and products."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        x = ctx.modality.blind_features(torch.cat([members, nonmembers])).cpu().numpy()
        labels = np.repeat([1, 0], [len(members), len(nonmembers)])
        parts = min(8, *x.shape)
        self._classifier = make_pipeline(
            PCA(parts, random_state=0),
            PolynomialFeatures(2, include_bias=False),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
        ).fit(x, labels)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The classifier's log-odds."""
        odds = self._classifier.decision_function(ctx.modality.blind_features(x).cpu().numpy())
        return {"logistic": torch.from_numpy(odds).to(x)}
