"""The Fréchet distance between two sets of features: the squared 2-Wasserstein distance of their Gaussian fits.

    d² = |m₁ - m₂|² + tr S₁ + tr S₂ - 2 tr (S₁ S₂)^½

Source: Heusel et al. (arXiv 1706.08500), after Dowson and Landau (1982). The last trace is the sum of the square roots
of the eigenvalues of the symmetric R S₁ R with R R = S₂: no square root of a non-symmetric matrix is taken, so that
rank-deficient covariances (few samples, many features) need no jitter. R depends on the second set alone: a `Reference`
holds it, since many models are compared with the same data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Reference", "frechet", "frechet_distance", "frechet_to", "moments"]


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the unbiased covariance (D, D) of N feature vectors, in float64 on the CPU.

    Args:
        features: (N, D), N of at least 2, finite.

    Raises:
        ValueError: another shape, fewer than 2 samples, or a value that is not finite.
    """
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"features must have shape (N, D), not {tuple(features.shape)}")
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, not {len(features)}")
    x = features.detach().to(device="cpu", dtype=torch.float64)
    bad = int((~torch.isfinite(x).all(1)).sum())
    if bad:
        raise ValueError(f"the features of {bad} of {len(x)} samples are not finite")
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


@dataclass(frozen=True)
class Reference:
    """What the distance needs of its second set, in float64 on the CPU: one eigendecomposition that is done once.

    Attributes:
        mean: (D,).
        root: (D, D), the symmetric square root of the covariance.
        trace: (), the trace of the covariance.
    """

    mean: Tensor
    root: Tensor
    trace: Tensor

    @classmethod
    def of(cls, mean: Tensor, cov: Tensor) -> Reference:
        """The reference of a mean (D,) and a covariance (D, D), positive semi-definite, of any rank.

        Raises:
            ValueError: the shapes disagree, or a value is not finite.
        """
        m, s = _checked(mean, cov)
        values, vectors = torch.linalg.eigh(s)
        return cls(m, (vectors * values.clamp_min(0).sqrt()) @ vectors.T, s.trace())


def frechet_to(mean: Tensor, cov: Tensor, reference: Reference) -> float:
    """The distance of N(mean, cov) to a reference, 0 at least.

    Args:
        mean: (D,).
        cov: (D, D), symmetric and positive semi-definite, of any rank.
        reference: of the same D.

    Raises:
        ValueError: the shapes disagree, or a value is not finite.
    """
    m, s = _checked(mean, cov)
    if len(m) != len(reference.mean):
        raise ValueError(f"the shapes disagree: {len(m)} features, and {len(reference.mean)} in the reference")
    cross = torch.linalg.eigvalsh(reference.root @ s @ reference.root).clamp_min(0).sqrt().sum()
    return max(0.0, float((m - reference.mean).square().sum() + s.trace() + reference.trace - 2 * cross))


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """The distance of N(mean1, cov1) and N(mean2, cov2); arguments and errors as of `frechet_to`."""
    return frechet_to(mean1, cov1, Reference.of(mean2, cov2))


def frechet(x_features: Tensor, y_features: Tensor) -> float:
    """The distance between two sets of features, (N, D) and (M, D); errors as of `moments` and `frechet_to`."""
    return frechet_distance(*moments(x_features), *moments(y_features))


def _checked(mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """A mean (D,) and a covariance (D, D), finite, in float64 on the CPU."""
    d = len(mean) if mean.ndim == 1 else 0
    if d < 1 or cov.shape != (d, d):
        raise ValueError(f"moments must have shapes (D,) and (D, D), not {tuple(mean.shape)} and {tuple(cov.shape)}")
    m, s = (x.detach().to(device="cpu", dtype=torch.float64) for x in (mean, cov))
    if not (bool(torch.isfinite(m).all()) and bool(torch.isfinite(s).all())):
        raise ValueError("a mean or a covariance is not finite")
    return m, s
