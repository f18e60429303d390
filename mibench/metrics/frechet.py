"""The Fréchet distance between two sets of features: the 2-Wasserstein distance, squared, of their Gaussian fits.

    d² = |m₁ - m₂|² + tr S₁ + tr S₂ - 2 tr (S₁ S₂)^½

Source: Heusel et al. (arXiv 1706.08500), after Dowson and Landau (1982). The last trace is the sum of the square roots
of the eigenvalues of the symmetric R S₁ R with R R = S₂: no square root of a non-symmetric matrix is taken, so that
rank-deficient covariances (few samples, many features) need no jitter.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["frechet", "frechet_distance", "moments"]


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
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"the features of {int((~torch.isfinite(x)).any(1).sum())} of {len(x)} samples are not finite")
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """The squared 2-Wasserstein distance of N(mean1, cov1) and N(mean2, cov2), 0 at least.

    Args:
        mean1: (D,).
        cov1: (D, D), symmetric and positive semi-definite, of any rank.
        mean2: (D,).
        cov2: (D, D), as cov1.

    Raises:
        ValueError: the shapes disagree, or a value is not finite.
    """
    shapes = [tuple(x.shape) for x in (mean1, cov1, mean2, cov2)]
    d = len(mean1) if mean1.ndim == 1 else 0
    if d < 1 or shapes != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"moments must have shapes (D,), (D, D), (D,), (D, D), not {', '.join(map(str, shapes))}")
    m1, s1, m2, s2 = (x.detach().to(device="cpu", dtype=torch.float64) for x in (mean1, cov1, mean2, cov2))
    if not all(bool(torch.isfinite(x).all()) for x in (m1, s1, m2, s2)):
        raise ValueError("a mean or a covariance is not finite")
    values, vectors = torch.linalg.eigh(s2)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ s1 @ root).clamp_min(0).sqrt().sum()
    return max(0.0, float((m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross))


def frechet(x_features: Tensor, y_features: Tensor) -> float:
    """The Fréchet distance between two sets of features, (N, D) and (M, D); it raises as the functions it joins."""
    return frechet_distance(*moments(x_features), *moments(y_features))
