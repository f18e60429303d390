"""The kernel inception distance against exact rational arithmetic and closed forms."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from mibench.metrics import kid as module
from mibench.metrics.kid import kid, mmd2

torch.set_num_threads(1)


def normal(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(x: list[list[int]], y: list[list[int]]) -> Fraction:
    """The unbiased estimate by its definition, without rounding."""

    def k(a: list[int], b: list[int]) -> Fraction:
        return (Fraction(sum(p * q for p, q in zip(a, b, strict=True)), len(a)) + 1) ** 3

    def within(z: list[list[int]]) -> Fraction:
        n = len(z)
        return sum((k(z[i], z[j]) for i in range(n) for j in range(n) if i != j), Fraction()) / (n * (n - 1))

    cross = sum((k(a, b) for a in x for b in y), Fraction()) / (len(x) * len(y))
    return within(x) + within(y) - 2 * cross


@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (5, 9, 3), (12, 7, 4)])
def test_exact(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.integers(-4, 5, (n, d)), rng.integers(-3, 6, (m, d))
    assert mmd2(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(
        float(exact(x.tolist(), y.tolist())), rel=1e-12
    )


def test_constants() -> None:
    """All at a against all at b: k(a, a) + k(b, b) - 2 k(a, b) = 27 + 3.375 - 2 * 8 in two dimensions."""
    a, b = torch.tensor([[2.0, 0]]), torch.tensor([[1.0, 0]])
    assert mmd2(a.repeat(4, 1), b.repeat(6, 1)) == pytest.approx(27 + 1.5**3 - 2 * 8, rel=1e-14)
    assert mmd2(a.repeat(4, 1), a.repeat(6, 1)) == pytest.approx(0, abs=1e-12)


def test_unbiased() -> None:
    """For N(0, 1) and N(0, s²), MMD² = 3 (1 - s²)²; small samples meet it on average, and 0 where s = 1."""
    for s in (1.0, 1.5):
        values = torch.tensor([mmd2(normal(2 * i, 10, 1), s * normal(2 * i + 1, 6, 1)) for i in range(3000)])
        assert abs(values.mean() - 3 * (1 - s**2) ** 2) < 4 * values.std() / math.sqrt(len(values))
        assert values.min() < 0


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(0, 50, 8), normal(1, 41, 8) + 1
    whole = mmd2(x, y)
    for size in (1, 7, 41):
        monkeypatch.setattr(module, "BLOCK", size)
        assert mmd2(x, y) == pytest.approx(whole, rel=1e-12)


def test_symmetric_and_invariant_under_rotation() -> None:
    x, y = normal(2, 60, 5), normal(3, 40, 5) * 1.3
    q = torch.linalg.qr(normal(4, 5, 5)).Q
    assert mmd2(x, y) == pytest.approx(mmd2(y, x), rel=1e-12)
    assert mmd2(x, y) == pytest.approx(mmd2(x @ q, y @ q), rel=1e-10)


def test_subsets() -> None:
    x, y = normal(5, 300, 4), normal(6, 200, 4) + 0.7
    found = kid(x, y, subsets=60, size=50)
    assert (found.subsets, found.size) == (60, 50)
    assert found == kid(x, y, subsets=60, size=50) != kid(x, y, subsets=60, size=50, seed=1)
    assert found.mean == pytest.approx(mmd2(x, y), abs=4 * found.sd / math.sqrt(60)) and found.sd > 0
    assert kid(x, y, subsets=1, size=50).sd == 0
    assert kid(x, y).size == 200 and kid(x, y, subsets=3).subsets == 3
    whole = kid(x[:200], y)
    assert (whole.subsets, whole.size, whole.sd) == (1, 200, 0) and whole.mean == mmd2(x[:200], y)


def test_the_size_of_the_sets_does_not_shift_it() -> None:
    x, y = normal(7, 4000, 4), normal(8, 4000, 4) + 0.5
    small, large = (kid(x, y, subsets=100, size=size) for size in (50, 800))
    assert small.mean == pytest.approx(large.mean, abs=5 * small.sd / 10)


def test_the_callers_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    kid(normal(0, 30, 2), normal(1, 30, 2), size=10)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(5), "shape"),
        (torch.zeros(5, 0), "shape"),
        (torch.zeros(1, 3), "at least 2 samples, not 1"),
        (torch.zeros(5, 4), "shapes disagree"),
        (torch.tensor([[0.0, 1, 1], [math.nan, 1, 1], [2, math.inf, 1]]), "2 of 3 samples are not finite"),
    ],
)
def test_refusals(bad: Tensor, message: str) -> None:
    good = torch.zeros(4, 3)
    for call in (mmd2, kid):
        for arguments in ((bad, good), (good, bad)):
            with pytest.raises(ValueError, match=message) as caught:
                call(*arguments)
            assert "\n" not in str(caught.value)
    for options in ({"subsets": 0}, {"size": 1}):
        with pytest.raises(ValueError, match="subsets must be at least 1 and size at least 2"):
            kid(good, good, **options)
