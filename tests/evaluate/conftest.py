"""Stores and an exact model, for the tests of one room."""

import pytest
from benches import cell, judged, made

from mibench.results.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "artifacts")


@pytest.fixture
def exact(store):
    """The cell of an exact model that is in the store."""
    target = cell()
    made([target], store)
    return target


@pytest.fixture
def alone(tmp_path):
    """Measure cells of one model in a store of their own, as if nothing else had been measured: what is reported."""

    def measured(*cells):
        apart = Store(tmp_path / "apart")
        made(cells, apart)
        return judged(list(cells), apart)

    return measured
