"""The Fréchet distance against closed forms, SciPy's matrix square root and pytorch-fid."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from mibench.metrics.frechet import (
    Reference,
    frechet,
    frechet_distance,
    frechet_to,
    moments,
)

torch.set_num_threads(1)


def gaussian(seed: int, d: int, rank: int) -> tuple[Tensor, Tensor]:
    """A random mean (d,) and a random covariance (d, d) of this rank."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(d, rank, generator=g, dtype=torch.float64)
    return torch.randn(d, generator=g, dtype=torch.float64), a @ a.T / rank


def normal(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_moments_are_numpys() -> None:
    x = normal(0, 50, 7)
    mean, cov = moments(x.float())
    assert mean.dtype == cov.dtype == torch.float64
    np.testing.assert_allclose(mean, x.float().double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.float().double().numpy().T), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("m1", "s1", "m2", "s2"), [(0, 1, 0, 1), (0, 1, 3, 1), (1, 2, -1, 0.5), (0, 0, 0, 2)])
def test_one_dimension(m1: float, s1: float, m2: float, s2: float) -> None:
    t = [torch.tensor(x, dtype=torch.float64) for x in ([m1], [[s1**2]], [m2], [[s2**2]])]
    assert frechet_distance(*t) == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-12)


def test_diagonal() -> None:
    a, b = normal(1, 2, 20).abs()
    m = normal(2, 2, 20)
    expected = float((m[0] - m[1]).square().sum() + (a - b).square().sum())
    assert frechet_distance(m[0], torch.diag(a**2), m[1], torch.diag(b**2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scipy_sqrtm(seed: int) -> None:
    (m1, s1), (m2, s2) = gaussian(seed, 32, 64), gaussian(seed + 50, 32, 64)
    cross = np.trace(scipy.linalg.sqrtm(s1.numpy() @ s2.numpy()).real)
    expected = float((m1 - m2).square().sum() + s1.trace() + s2.trace() - 2 * cross)
    assert frechet_distance(m1, s1, m2, s2) == pytest.approx(expected, rel=1e-9)


def test_rank_deficient_closed_form() -> None:
    """For rank one, tr (S₁ S₂)^½ = |<u, v>|: the distance of the segments u and v."""
    u, v = normal(3, 2, 16)
    zero = torch.zeros(16, dtype=torch.float64)
    expected = float(u @ u + v @ v - 2 * (u @ v).abs())
    assert frechet_distance(zero, torch.outer(u, u), zero, torch.outer(v, v)) == pytest.approx(expected, abs=1e-6)


def test_rank_deficient_in_orthogonal_subspaces() -> None:
    zero = torch.zeros(8, dtype=torch.float64)
    a, b = torch.diag(torch.tensor([1.0, 2, 3, 4, 0, 0, 0, 0])), torch.diag(torch.tensor([0.0, 0, 0, 0, 5, 6, 7, 8]))
    assert frechet_distance(zero, a, zero, b) == pytest.approx(36, rel=1e-12)


@pytest.mark.parametrize("rank", [4, 40])
def test_symmetric_and_zero_on_itself(rank: int) -> None:
    x, y = gaussian(7, 40, rank), gaussian(8, 40, rank)
    assert frechet_distance(*x, *y) == pytest.approx(frechet_distance(*y, *x), rel=1e-6)
    assert 0 <= frechet_distance(*x, *x) < 1e-5


def test_invariant_under_rotation() -> None:
    x, y = normal(9, 300, 12), normal(10, 200, 12) * 1.5 + 0.2
    q = torch.linalg.qr(normal(11, 12, 12)).Q
    assert frechet(x @ q, y @ q) == pytest.approx(frechet(x, y), rel=1e-10)


def test_samples() -> None:
    x = normal(12, 300, 5)
    shift = torch.tensor([3.0, 0, 4, 0, 0])
    assert frechet(x, x + shift) == pytest.approx(25, rel=1e-9)
    assert frechet(x, x) == pytest.approx(0, abs=1e-10)
    centred = x - x.mean(0)
    assert frechet(centred, 2 * centred) == pytest.approx(float(moments(x)[1].trace()), rel=1e-9)
    assert frechet(x[:3], x) > 0 and math.isfinite(frechet(x[:2], x[2:4]))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(5), "shape"),
        (torch.zeros(5, 0), "shape"),
        (torch.zeros(5, 2, 2), "shape"),
        (torch.zeros(1, 3), "at least 2 samples, not 1"),
        (torch.zeros(0, 3), "at least 2 samples, not 0"),
        (torch.tensor([[0.0, 1], [math.nan, 1], [2, math.inf]]), "2 of 3 samples are not finite"),
    ],
)
def test_moments_refuse(features: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        moments(features)
    assert "\n" not in str(caught.value)


def test_distance_refuses() -> None:
    x, y = gaussian(0, 3, 3), gaussian(1, 4, 4)
    for arguments in ((*x, *y), (x[0], y[1], x[0], x[1]), (x[1], x[1], x[0], x[1])):
        with pytest.raises(ValueError, match="shapes"):
            frechet_distance(*arguments)
    with pytest.raises(ValueError, match="shapes"):
        frechet(normal(0, 9, 3), normal(1, 9, 4))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(*x, x[0], x[1] * math.nan)


def features(seed: int, n: int, d: int) -> Tensor:
    """Correlated, non-negative features of full rank, with a mean, as those of a network are."""
    return ((normal(seed, n, d) @ normal(99, d, d) / math.sqrt(d)) + 0.1 * seed).relu() + 0.3 * normal(seed + 1, n, d)


@pytest.mark.parametrize("width", [256, pytest.param(2048, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reference", ["pytorch-fid", "sqrtm"])
def test_agrees_with_the_published_distance(reference: str, width: int) -> None:
    """On features of full rank; `benchmarks/frechet_speed.py` times it."""
    x, y = moments(features(0, 5000, width)), moments(features(1, 5000, width))
    arrays = [z.numpy() for z in (*x, *y)]
    if reference == "pytorch-fid":
        fid_score = pytest.importorskip("pytorch_fid.fid_score", reason="pytorch-fid or torchvision is missing")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                expected = float(fid_score.calculate_frechet_distance(*arrays))
        except TypeError as error:
            pytest.skip(f"SciPy {scipy.__version__} is too new for pytorch-fid: {error}")
    else:
        m1, s1, m2, s2 = arrays
        cross = np.trace(scipy.linalg.sqrtm(s1 @ s2).real)
        expected = float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross)
    assert frechet_distance(*x, *y) == pytest.approx(expected, rel=1e-6)


def test_to_a_reference_is_the_same_to_the_bit() -> None:
    x, y = gaussian(0, 20, 30), gaussian(1, 20, 7)
    assert frechet_to(*x, Reference.of(*y)) == frechet_distance(*x, *y)
    with pytest.raises(ValueError, match="shapes disagree: 20 features, and 3"):
        frechet_to(*x, Reference.of(*gaussian(0, 3, 3)))
