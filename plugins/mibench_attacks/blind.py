"""Blind baseline."""

from typing import ClassVar

import numpy as np
import torch
from pydantic import PrivateAttr

from mibench import Attack


class Blind(Attack):
    """A classifier on the data alone: where it leaves .5 the split itself tells members from non-members.

    Das et al. (arXiv 2406.16201).
    """

    name: ClassVar = "blind"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2406.16201"
    access: ClassVar = "data"
    published: ClassVar = "logistic"

    _known: object = PrivateAttr(None)

    def fit(self, model, members, nonmembers, ctx):
        """Logistic regression, classes balanced, on at most 8 principal components, their squares and products."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        x = ctx.modality.blind_features(torch.cat([members, nonmembers])).cpu().numpy()
        labels = np.repeat([1, 0], [len(members), len(nonmembers)])
        parts = min(8, *x.shape)
        self._known = make_pipeline(
            PCA(parts, random_state=0),
            PolynomialFeatures(2, include_bias=False),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
        ).fit(x, labels)

    def score(self, model, x, ctx):
        """The log odds that the classifier gives."""
        odds = self._known.decision_function(ctx.modality.blind_features(x).cpu().numpy())
        return {"logistic": torch.from_numpy(odds).to(x)}
