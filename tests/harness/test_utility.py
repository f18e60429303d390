"""Utility of the exact model: through the sampler, its samples are the data."""

import pytest
from benches import cell, judged, made

from mibench.harness.store import Store


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
