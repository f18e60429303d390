"""What goes between drivers and jobs."""

import pytest
from benches import cell, judged, made

from mibench.jobs.messages import Begin, Done, Ended, Failed, JobSpec, Lost, Progress, Say, decode, encode
from mibench.results.store import Store
from mibench.suite.cells import CellSpec

MESSAGES = (
    Begin(cell_index=3),
    Progress(done=1, total=2),
    Say(text="two\nlines · ε"),
    Failed(cell_index=0, reason="why", out_of_memory=True),
    Ended(error="", killed=True, memory_used=1 << 40),
    Lost(reason="gone"),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_is_one_line(message):
    line = encode(message)
    assert decode(line) == message and line.count(b"\n") == 1 and line.endswith(b"\n")


def test_a_record_keeps_its_digest(tmp_path):
    cells, store = [cell(), cell("pia")], Store(tmp_path / "store")
    made(cells, store)
    records = judged(cells, store).records
    assert set(records) == {"utility", "pia"}
    for record in records.values():
        answer = decode(encode(Done(cell_index=1, record=record)))
        assert answer.record == record and answer.record.content_digest() == record.digest


@pytest.mark.parametrize("line", [b"", b"{}", b'{"kind": "end"}', b'{"kind": "begin", "cell_index": "x"}', b"\xff"])
def test_anything_else_is_refused(line):
    with pytest.raises(ValueError, match=r"."):
        decode(line)


@pytest.mark.parametrize("attack", [None, "pia:times=[0.1,0.2]", "secmi:steps=5+filter"])
def test_the_cells_of_a_job_are_built_again_from_plain_values(attack, tmp_path):
    from mibench.plugins import load

    one = cell(attack, defense="hold:order=3,aux_variance=2", model="trained", checkpoint=5)
    spec = JobSpec(kind="measure", cells=(CellSpec.of(one),), device="cpu", store=tmp_path, log=tmp_path / "log")
    (again,) = JobSpec.model_validate_json(spec.model_dump_json()).cells
    assert again.cell(load()).spec() == one.spec()
