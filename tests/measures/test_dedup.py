"""Near-duplicates of members are left out."""

import torch

from mibench import defense
from mibench.data import nearest
from mibench_defenses import VP
from mibench_measures import Dedup, dedup

GENERATOR = torch.Generator().manual_seed(0)
MEMBERS = torch.randn(200, 1, 4, 4, generator=GENERATOR)


def chosen(members, **options):
    return Dedup(**options).select(VP(), members).tolist()


def test_members_that_differ_are_all_kept():
    assert chosen(MEMBERS) == list(range(200))


def test_copies_and_near_copies_are_dropped_and_the_first_is_kept(monkeypatch):
    near = MEMBERS[:20] + 1e-3 * torch.randn(20, 1, 4, 4, generator=GENERATOR)
    members = torch.cat([MEMBERS[:50], MEMBERS[:30], near, MEMBERS[50:]])
    expected = [*range(50), *range(100, 250)]
    assert chosen(members) == expected
    monkeypatch.setattr(dedup, "ROWS", 7)
    assert chosen(members) == expected
    # without a threshold exact copies alone are dropped
    assert chosen(members, threshold=0) == [*range(50), *range(80, 250)]


def test_the_threshold_is_in_median_distances_to_the_nearest_neighbour():
    apart = torch.stack([nearest(MEMBERS[k : k + 1], MEMBERS[torch.arange(200) != k]) for k in range(200)])
    typical = apart.median()
    near = MEMBERS[:1] + torch.zeros(1, 1, 4, 4).index_fill(3, torch.tensor([0]), 0.5 * typical.item() / 2)
    members = torch.cat([MEMBERS, near])  # at half of the median
    assert chosen(members, threshold=0.48) == list(range(201))
    assert chosen(members, threshold=0.52) == list(range(200))


def test_no_two_that_are_kept_are_near():
    kept = MEMBERS[chosen(MEMBERS, threshold=1.1)]
    assert 20 < len(kept) < 200
    distances = torch.cdist(kept.flatten(1).double(), kept.flatten(1).double()).fill_diagonal_(torch.inf)
    every = torch.cdist(MEMBERS.flatten(1).double(), MEMBERS.flatten(1).double()).fill_diagonal_(torch.inf)
    assert distances.min() > 1.1 * every.amin(1).median()


def test_members_that_are_all_the_same_and_a_single_one():
    assert chosen(MEMBERS[:1].expand(9, 1, 4, 4)) == [0]
    assert chosen(MEMBERS[:1]) == [0]


def test_a_training_takes_those_that_are_kept():
    members = torch.cat([MEMBERS[:5], MEMBERS[:5]])
    assert defense("hold2+dedup+dropout").select(members).tolist() == [0, 1, 2, 3, 4]
