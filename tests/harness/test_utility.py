"""Utility of the exact model: through the sampler, its samples are the data."""

import pytest

from mibench.harness.cells import cell_from
from mibench.harness.jobs import make_model, measure
from mibench.harness.store import Store
from mibench.plugins import load


@pytest.mark.parametrize("dataset", ["digits", "swiss-roll"])
@pytest.mark.parametrize("defense", ["vp", "ve", "cld", "hold2", "hold3", "hold4"])
def test_the_exact_model_generates_the_data(tmp_path, defense, dataset):
    job = {
        "dataset": dataset,
        "defense": defense,
        "attack": None,
        "seed": 0,
        "model": "exact",
        "recipe": {},
        "utility": {},
    }
    cell, store = cell_from(load(), job), Store(tmp_path)
    make_model(cell, store, "cpu", lambda done, total: None)
    record = measure(cell, store, "cpu", lambda done, total: None)
    utility = record.utility
    assert utility.n == 1000 and record.cost == {"forwards": 50.0, "vjps": 0.0}
    assert abs(utility.fraction) <= 0.25
    assert utility.copied >= 0.9
    assert utility.gauss > 2 * utility.copies > utility.null
