"""Splits of datasets."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from mibench import POINTS, Dataset, UsageError
from mibench.data import Split, calibration_size, nearest, split
from mibench_datasets import Digits, SwissRoll

torch.set_num_threads(1)


class Line(Dataset):
    """The numbers 0 … 99: each sample can be told from every other."""

    name: ClassVar = "line"
    modality = POINTS

    members: int = 20
    nonmembers: int = 30
    reference: int = 50

    def pool(self, generator: torch.Generator) -> Tensor:
        return torch.arange(100.0)[:, None]


def parts(data: Split) -> tuple[Tensor, Tensor, Tensor]:
    return data.members, data.nonmembers, data.reference


@pytest.mark.parametrize(
    ("dataset", "shape"),
    [
        (Digits(members=40, nonmembers=50, reference=60), (1, 8, 8)),
        (SwissRoll(members=40, nonmembers=50, reference=60), (2,)),
    ],
    ids=["digits", "swiss-roll"],
)
def test_sizes_types_and_scale(dataset: Dataset, shape: tuple[int, ...]) -> None:
    data = split(dataset, 0)
    assert [len(p) for p in parts(data)] == [40, 50, 60]
    assert data.shape == shape
    assert all(p.dtype == torch.float32 and p.shape[1:] == shape for p in parts(data))
    assert data.data_variance == pytest.approx((data.members.double() ** 2).mean().item(), rel=1e-12)
    assert 0.2 < data.data_variance < 2
    everything = torch.cat(parts(data)).flatten(1)
    assert len(everything.unique(dim=0)) == 150


def test_default_sizes() -> None:
    assert [len(p) for p in parts(split(Digits(), 0))] == [100, 400, 1200]
    assert [len(p) for p in parts(split(SwissRoll(), 0))] == [100, 1250, 2000]


def test_digits_are_scaled_to_one() -> None:
    pool = Digits().pool(torch.Generator())
    assert pool.shape == (1797, 1, 8, 8)
    assert (pool.min(), pool.max()) == (-1, 1)


def test_swiss_roll_is_a_spiral() -> None:
    """Without noise every point is t (cos t, sin t) / 7 for 1.5 π ≤ t ≤ 4.5 π, so its angle follows from its radius."""
    pool = SwissRoll(noise=0).pool(torch.Generator().manual_seed(0)).double()
    t = 7 * pool.norm(dim=1)
    torch.testing.assert_close(pool, (t / 7)[:, None] * torch.stack([t.cos(), t.sin()], 1), rtol=0, atol=1e-5)
    assert t.min() >= 1.5 * torch.pi - 1e-5
    assert t.max() <= 4.5 * torch.pi + 1e-5


def test_every_sample_is_in_one_part_only() -> None:
    data = split(Line(), 3)
    assert torch.equal(torch.cat(parts(data)).flatten().sort().values, torch.arange(100.0))
    assert not torch.equal(torch.cat(parts(data)).flatten(), torch.arange(100.0))


@pytest.mark.parametrize("dataset", [Line(), Digits(reference=10), SwissRoll(reference=10)], ids=lambda d: d.name)
def test_the_seed_alone_decides(dataset: Dataset) -> None:
    first = split(dataset, 7)
    torch.manual_seed(123)
    again, other = split(dataset, 7), split(dataset, 8)
    assert all(torch.equal(a, b) for a, b in zip(parts(first), parts(again), strict=True))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert not torch.equal(first.members, other.members)


def test_fingerprint_sees_every_part_and_every_boundary() -> None:
    data = split(Line(), 0)
    changed = {data.fingerprint}
    for name in ("members", "nonmembers", "reference"):
        part = getattr(data, name).clone()
        part[-1] += 1e-3
        changed.add(replace(data, **{name: part}).fingerprint)
    moved = torch.cat([data.members, data.nonmembers])
    changed.add(replace(data, members=moved[:21], nonmembers=moved[21:]).fingerprint)
    assert len(changed) == 5
    assert len(data.fingerprint) == 64


def test_too_many_members() -> None:
    with pytest.raises(UsageError, match=r"digits.*= 2600, but it holds 1797 samples"):
        split(Digits(members=1000), 0)
    assert len(split(Line(members=20), 0).members) == 20
    with pytest.raises(UsageError, match="= 101"):
        split(Line(members=21), 0)


class Broken(Line):
    """A pool with one NaN."""

    name: ClassVar = "broken"

    def pool(self, generator: torch.Generator) -> Tensor:
        pool = super().pool(generator)
        pool[17] = torch.nan
        return pool


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        split(Broken(), 0)


def test_near_duplicates_counts_what_is_planted() -> None:
    data = split(Digits(), 0)
    found = data.near_duplicates
    nonmembers = data.nonmembers.clone()
    nonmembers[3] = data.members[11]
    nonmembers[5] = data.members[12] + 1e-3
    assert found == 0
    assert replace(data, nonmembers=nonmembers).near_duplicates == 2


def test_copies_are_counted_however_many_the_pool_has() -> None:
    """Where half of the reference are copies, too, the typical distance is that of the others."""
    data = split(Digits(), 0)
    nonmembers, reference = data.nonmembers.clone(), data.reference.clone()
    nonmembers[:30] = data.members[:30]
    reference[: len(reference) * 2 // 3] = data.members[0]
    assert replace(data, nonmembers=nonmembers, reference=reference).near_duplicates == 30
    all_copies = data.members[:1].expand_as(reference).clone()
    assert replace(data, nonmembers=nonmembers, reference=all_copies).near_duplicates == 30


def test_nearest_is_the_smallest_distance() -> None:
    g = torch.Generator().manual_seed(0)
    x, points = torch.randn(1500, 2, 3, generator=g), torch.randn(7, 2, 3, generator=g)
    want = (x[:, None].double() - points.double()).flatten(2).norm(dim=2).min(1).values
    torch.testing.assert_close(nearest(x, points), want, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("size", "want"), [(10, 2), (100, 20), (1250, 250), (13, 3), (1, 1)])
def test_a_fifth_is_for_calibration(size: int, want: int) -> None:
    assert calibration_size(torch.zeros(size)) == want
