"""The claim of a training reaches its records, at a checkpoint that of its own steps, and validate computes it again."""

import pytest
from benches import cell, judged, made

from mibench.plugins import load
from mibench.results.claimed import claim_problems
from mibench.results.known import Known
from mibench.results.record import record_path
from mibench.results.store import Store

DEFENSE = "vp+dp-sgd:epsilon=5,batch=8,draws=2,steps=1"
KNOWN = Known.of(load())


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A record at the end of one training of 20 members, 10 steps, and at its half."""
    store = Store(tmp_path_factory.mktemp("store"))
    cells = [cell("loss", defense=DEFENSE, model="trained", checkpoint=step) for step in (0, 5)]
    made(cells, store)
    return [judged([one], store).records["loss"] for one in cells]


def problems(record):
    return claim_problems({record_path(record.labels, 0, "trained"): record}, KNOWN)


def test_the_claim_is_in_the_record(records):
    end, half = (record.model.claim for record in records)
    assert (end.rate, end.steps, end.draws, end.noise) == (0.4, 10, 2, half.noise)
    assert end.epsilon == pytest.approx(5, abs=1e-3) and half.steps == 5 and half.epsilon < end.epsilon
    assert [problems(record) for record in records] == [[], []]


@pytest.mark.parametrize("change", [{"noise": 9.0}, {"epsilon": 1.0}, {"steps": 9}, {"clip": 9.0}, {"rate": 0.1}])
def test_an_edited_claim_fails(records, change):
    for record in records:
        claim = record.model.claim.model_copy(update=change)
        edited = record.model_copy(update={"model": record.model.model_copy(update={"claim": claim})})
        assert problems(edited) and all(line.startswith("records/") for line in problems(edited))


def test_a_claim_that_was_left_out_is_missed(records):
    bare = records[0].model_copy(update={"model": records[0].model.model_copy(update={"claim": None})})
    assert "it has no claim" in problems(bare)[0]
