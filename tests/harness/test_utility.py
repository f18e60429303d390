"""Utility of the exact model: through the sampler, its samples are the data."""

import pytest

from mibench.harness.cells import cell_from
from mibench.harness.measure import Report, measure
from mibench.harness.models import make_models
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
        "checkpoint": 0,
        "shadow": None,
    }
    cell, store = cell_from(load(), job), Store(tmp_path)
    make_models([cell], store, "cpu", lambda done, total: None, print)
    records = []
    report = Report(
        begin=lambda place: None,
        done=lambda place, record: records.append(record),
        failed=lambda place, error: pytest.fail(str(error)),
        progress=lambda done, total: None,
        say=print,
    )
    measure([cell], store, "cpu", report)
    (record,) = records
    utility = record.utility
    assert utility.n == 1000 and record.cost == {"forwards": 50.0, "vjps": 0.0}
    assert abs(utility.fraction) <= 0.25
    assert utility.copied >= 0.9
    assert utility.gauss > 2 * utility.copies > utility.null
