"""Blind baseline."""

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model, NotApplicable

__all__ = ["Blind"]


class Blind(Attack):
    """A classifier on the data alone: where it leaves .5 the split itself tells members from non-members.

    Das et al. (arXiv 2406.16201).
    """

    name = "blind"
    paper = "arXiv 2406.16201"
    access = "data"
    published = "logistic"

    features: Literal["values", "spectrum", "files"] = Field(
        "values",
        description="of a sample: its values; its spectrum and gradients; facts of the file that it is from",
        exclude_if=lambda features: features == "values",  # keys of records from before this option stay
    )

    _classifier: Any = PrivateAttr()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Logistic regression, classes balanced, on standardised features.

        Values are first reduced to at most 8 principal components, with their squares and products.
        """
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        x = self._features(torch.cat([members, nonmembers]), ctx)
        if (x == x[0]).all():
            raise NotApplicable("the calibration samples have the same features: nothing can be learnt")
        labels = np.repeat([1, 0], [len(members), len(nonmembers)])
        values = self.features == "values"
        steps: list[Any] = [PCA(min(8, *x.shape), random_state=0), PolynomialFeatures(2, include_bias=False)]
        self._classifier = make_pipeline(
            *(steps if values else []),
            StandardScaler(),
            LogisticRegression(C=0.1 if values else 1.0, class_weight="balanced", max_iter=1000),
        ).fit(x, labels)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The classifier's log-odds."""
        odds = self._classifier.decision_function(self._features(x, ctx))
        return {"logistic": torch.from_numpy(odds).to(x)}

    def _features(self, x: Tensor, ctx: Context) -> Any:
        """(B, F) of samples (B, *item)."""
        see = {
            "values": ctx.modality.blind_features,
            "spectrum": ctx.modality.spectrum_features,
            "files": ctx.file_facts,
        }
        return see[self.features](x).cpu().numpy()
