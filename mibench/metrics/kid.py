"""The kernel inception distance: the squared maximum mean discrepancy of two sets of features, estimated without bias.

    MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y),    k(a, b) = (<a, b>/D + 1)³

Source: Bińkowski et al., Demystifying MMD GANs (arXiv 1801.01401), section 4 and appendix D. Unlike that of
the Fréchet distance, its expectation does not depend on the number of samples, so small sets compare with large ones.
An estimate may be below 0. On Inception features it is called KID.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["KernelDistance", "kid", "mmd2"]

BLOCK = 1024
"""Rows and columns of the kernel matrix at a time, 8 MiB, to bound the memory."""


@dataclass(frozen=True)
class KernelDistance:
    """An estimate over random subsets.

    Attributes:
        mean: of the estimates.
        sd: their standard deviation (population form). Subsets overlap, so it is not the standard error of ``mean``.
        subsets: their number.
        size: samples of either set in each subset.
    """

    mean: float
    sd: float
    subsets: int
    size: int


def kid(
    x_features: Tensor, y_features: Tensor, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """The mean and the standard deviation of `mmd2` over random subsets, each drawn without replacement.

    Args:
        x_features: (N, D), on any device; the kernel is computed there, in float64.
        y_features: (M, D).
        subsets: their number; 1 where a subset would hold all samples of both sets.
        size: samples of either set in a subset, at most N and M.
        seed: of the subsets.

    Raises:
        ValueError: subsets below 1, size below 2, or as `mmd2`.
    """
    if subsets < 1 or size < 2:
        raise ValueError(f"subsets must be at least 1 and size at least 2, not {subsets} and {size}")
    x, y = _checked(x_features, y_features)
    size = min(size, len(x), len(y))
    if size == len(x) == len(y):
        return KernelDistance(_mmd2(x, y), 0.0, 1, size)
    g = torch.Generator().manual_seed(seed)
    values = torch.empty(subsets, dtype=torch.float64)
    for i in range(subsets):
        rows, others = (torch.randperm(len(z), generator=g)[:size].to(z.device) for z in (x, y))
        values[i] = _mmd2(x[rows], y[others])
    return KernelDistance(values.mean().item(), values.std(correction=0).item(), subsets, size)


def mmd2(x_features: Tensor, y_features: Tensor) -> float:
    """The unbiased estimate of MMD² from all samples of both sets.

    Args:
        x_features: (N, D), N of at least 2, finite.
        y_features: (M, D), M of at least 2, finite; moved to the device of the first.

    Raises:
        ValueError: another shape, two different D, fewer than 2 samples, or a value that is not finite.
    """
    return _mmd2(*_checked(x_features, y_features))


def _checked(x_features: Tensor, y_features: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in float64 on the device of the first."""
    for x in (x_features, y_features):
        if x.ndim != 2 or x.shape[1] < 1:
            raise ValueError(f"features must have shape (N, D), not {tuple(x.shape)}")
        if len(x) < 2:
            raise ValueError(f"a kernel distance needs at least 2 samples, not {len(x)}")
        bad = int((~torch.isfinite(x).all(1)).sum())
        if bad:
            raise ValueError(f"the features of {bad} of {len(x)} samples are not finite")
    if x_features.shape[1] != y_features.shape[1]:
        raise ValueError(
            f"the shapes disagree: {x_features.shape[1]} features, and {y_features.shape[1]} in the other set"
        )
    x = x_features.detach().double()
    return x, y_features.detach().to(device=x.device, dtype=torch.float64)


def _mmd2(x: Tensor, y: Tensor) -> float:
    n, m, d = len(x), len(y), x.shape[1]
    within = [_sum(z, z) - (z.square().sum(1) / d + 1).pow(3).sum() for z in (x, y)]
    return float(within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * _sum(x, y) / (n * m))


def _sum(x: Tensor, y: Tensor) -> Tensor:
    """The sum of k over all pairs of a row of x and a row of y, by blocks."""
    total = x.new_zeros(())
    for a in torch.split(x, BLOCK):
        for b in torch.split(y, BLOCK):
            total += (a @ b.T).div_(x.shape[1]).add_(1).pow_(3).sum()
    return total
