"""Records: every committed one is read, and written again, to the byte."""

import json
from pathlib import Path

import pytest

from mibench.errors import MibenchError
from mibench.results.facts import ModelFacts
from mibench.results.folder import read_folder
from mibench.results.record import FORMAT, digest_of, read_record, write_record
from mibench.suite.suite import all_suites

ROOT = Path(__file__).parents[2]


def test_every_committed_record_keeps_key_digest_and_bytes(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    records = [pair for folder in all_suites() for pair in read_folder(folder)]
    assert len(records) > 3000
    for path, record in records:
        content = record.model_dump(mode="json")
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        assert text == path.read_text(encoding="utf-8"), path
        assert record.key == digest_of({"format": FORMAT, "weights": record.model.digest, **content["cell"]}), path
        assert record.digest == digest_of({name: part for name, part in content.items() if name != "digest"}), path
    path, record = records[0]
    write_record(tmp_path / "copy.json", record)
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()
    assert record.content_digest() == record.digest


def seal(path, content):
    content = {name: part for name, part in content.items() if name != "digest"}
    path.write_text(json.dumps(content | {"digest": digest_of(content)}))


def test_what_has_no_value_is_left_out():
    facts = ModelFacts(key="k", normalisation=[1, 2])
    assert facts.model_dump(mode="json") == {"key": "k", "steps": None, "loss": None, "normalisation": [1.0, 2.0]}


def test_a_failed_record_of_old_with_empty_parts_is_read(tmp_path):
    old = json.loads((ROOT / "leaderboards/quick/records/digits/vp/pia-s0.json").read_text())
    old |= {"status": "failed", "reason": "was killed", "attack": None, "split": {}, "cost": {}, "environment": {}}
    path = tmp_path / "pia-s0.json"
    seal(path, old)
    assert read_record(path).split is None
    seal(path, old | {"status": "n/a"})
    with pytest.raises(MibenchError, match=r"lacks split\.fingerprint"):
        read_record(path)
