"""Utility of the exact model: through the sampler, its samples are the data."""

import pytest
import torch
from benches import cell, judged, made

from mibench.harness.store import Store
from mibench.harness.utility import gaussian


@pytest.mark.parametrize("dataset", ["digits", "swiss-roll"])
@pytest.mark.parametrize("defense", ["vp", "ve", "cld", "hold2", "hold3", "hold4"])
def test_the_exact_model_generates_the_data(tmp_path, defense, dataset):
    cells, store = [cell(defense=defense, dataset=dataset, recipe={})], Store(tmp_path)
    made(cells, store)
    outcome = judged(cells, store)
    assert not outcome.failures
    record = outcome.records["utility"]
    utility = record.utility
    assert utility.n == 1000 and record.cost == {"forwards": 50.0, "vjps": 0.0}
    assert abs(utility.fraction) <= 0.25
    assert utility.copied >= 0.9
    assert utility.gauss > 2 * utility.copies > utility.null


@pytest.mark.parametrize("d", [40, 81], ids=["more members than dimensions", "fewer"])
def test_a_gaussian_has_the_mean_and_the_covariance_of_the_members(d):
    rows = torch.cat([torch.eye(40), -torch.eye(40)])  # six deviations at most: nothing is clipped
    members = 3 + torch.cat([rows, rows, rows[:, :1]], dim=1)[:, :d].reshape(80, 1, d)
    drawn = gaussian(members, 20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 1, d) and drawn.dtype == torch.float32
    flat = drawn.flatten(1).double()
    covariance = torch.cov(members.flatten(1).double().T)
    assert (flat.mean(0) - 3).abs().max() < 0.006  # five standard errors, as below
    assert (torch.cov(flat.T) - covariance).abs().max() < 5 * 2**0.5 * covariance.max() / 20_000**0.5


def test_a_gaussian_stays_within_the_range_of_the_members():
    members = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    drawn = gaussian(members, 1000, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.amax(0), members.amax(0)) and torch.equal(drawn.amin(0), members.amin(0))
