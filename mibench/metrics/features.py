"""Fixed nonlinear features of samples for the Fréchet distance (`mibench.metrics.frechet`).

In raw coordinates a swiss roll has the distance 0 to a Gaussian of the same two moments; in these features it has not.
No weight is trained. All weights come from a CPU generator with a fixed seed, in float64, so figures compare across
machines where name and version of the space agree. The table was measured on 20 splits (seeds 100 to 119 of
`tests/metrics/test_features.py`), smallest to largest value. Copies: the distance of 1000 copies of the members to a
held-out reference. Gaussian: the same for 1000 draws of the Gaussian with the members' two moments. Floor: the distance
between the reference's halves. Ratio: Gaussian over copies, smallest and median.

    data, members       copies            Gaussian        floor             ratio
    swiss roll, 100     0.033 to 0.089    0.15 to 0.23    0.005 to 0.015    2.3, 3.6
    swiss roll, 200     0.017 to 0.039    0.16 to 0.21    0.006 to 0.015    4.6, 6.3
    digits, 100         0.059 to 0.108    0.51 to 0.67    0.014 to 0.029    4.8, 8.1
    digits, 200         0.030 to 0.051    0.53 to 0.66    0.015 to 0.025    11, 15

100 members cover a swiss roll so unevenly that the ratio is below 3 on 7 of the 20 splits; every other space tried
(128 to 512 features, paired, quasi-random, two-layer) has such splits too. Points must be of about unit scale: at half
of it the ratios are about 0.7 of these, at twice about 0.8.

Spectrograms share the images' space. On spoken digits (40 bands, 32 frames; 100 and 200 members, three splits each) a
Gaussian is 2.5 to 17 times as far away as copies, and a shift by three bands is 3.6 to 23 times the floor.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["FeatureSpace", "RandomConv", "RandomFourier"]

CHUNK = 256
"""Points, or images of 32 x 32, per pass, to bound the memory."""


class FeatureSpace(Protocol):
    """A named map from samples to feature vectors.

    Attributes:
        name: the kind and the dimension, shown in the column "FD (random-conv-64)".
        version: raised by any change of the map; distances of different versions do not compare.
    """

    name: str
    version: int

    def __call__(self, x: Tensor) -> Tensor:
        """The features of samples x, (B, *item) to (B, D) float64 on the CPU."""
        ...


class RandomFourier:
    """128 random Fourier features of points, ``sqrt(2/D) cos(<w, x> + b)``, w ~ N(0, 2²), b ~ U(0, 2π).

    Their inner product approximates a Gaussian kernel of width 1/2 (Rahimi and Recht, NeurIPS 2007). Standard
    deviations of 2 and 2.5 separate the swiss roll equally well, 1 and 4 clearly less.
    """

    name, version = "random-fourier-128", 1

    def __call__(self, x: Tensor) -> Tensor:
        """The features of points x, (B, d) to (B, 128) float64.

        Raises:
            ValueError: x is not of shape (B, d).
        """
        if x.ndim != 2 or x.shape[1] < 1:
            raise ValueError(f"points must have shape (B, d), not {tuple(x.shape)}")
        g = torch.Generator().manual_seed(0)
        w = 2 * torch.randn(x.shape[1], 128, generator=g, dtype=torch.float64)
        b = 2 * math.pi * torch.rand(128, generator=g, dtype=torch.float64)
        return torch.cat([math.sqrt(2 / 128) * (_plain(c) @ w + b).cos() for c in torch.split(x, CHUNK)])


class RandomConv:
    """64 random convolutional features of small images in [-1, 1]: ``mean over pixels of |k₂ * |k₁ * x + b₁| + b₂|``.

    Two unpadded 3x3 layers of 32 and 64 channels, k ~ N(0, 1/fan-in), b ~ N(0, 0.3²). The absolute value keeps the
    scale from layer to layer and leaves no unit constant (smallest standard deviation of a unit over the median one, on
    digits: 0.57; with ReLU 0.04). tanh, a 5x5 kernel and a third layer separate less; 2x2 kernels separate more, but see
    3x3 pixels only. Without the biases a digit and its negative would have the same features. The averages show which
    5x5 patches occur and how often, but not where the parts of a larger image lie. On 3x32x32 patches of two photographs
    a Gaussian is 20 times the floor, and no unit's standard deviation is below 0.32 of the median.
    """

    name, version = "random-conv-64", 1

    def __call__(self, x: Tensor) -> Tensor:
        """The features of images x, (B, C, H, W) to (B, 64) float64.

        Raises:
            ValueError: x is not of shape (B, C, H, W) with H and W of at least 5.
        """
        if x.ndim != 4 or x.shape[1] < 1 or min(x.shape[2:]) < 5:
            raise ValueError(f"images must have shape (B, C, H, W) with H, W >= 5, not {tuple(x.shape)}")
        g = torch.Generator().manual_seed(0)
        layers = []
        for c_in, c_out in ((x.shape[1], 32), (32, 64)):
            k = torch.randn(c_out, c_in, 3, 3, generator=g, dtype=torch.float64) / math.sqrt(9 * c_in)
            layers.append((k, 0.3 * torch.randn(c_out, generator=g, dtype=torch.float64)))
        chunks = []
        for c in torch.split(x, max(1, min(CHUNK, CHUNK * 32**2 // (x.shape[2] * x.shape[3])))):
            h = _plain(c)
            for k, b in layers:
                h = functional.conv2d(h, k, b).abs()
            chunks.append(h.mean((2, 3)))
        return torch.cat(chunks)


def _plain(x: Tensor) -> Tensor:
    """The samples without their graph, in float64 on the CPU."""
    return x.detach().to(device="cpu", dtype=torch.float64)
