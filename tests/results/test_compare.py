"""Whether two records of a cell say the same; what verify and validate make of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mibench.names import build
from mibench.plugins import load
from mibench.results.compare import compare
from mibench.results.record import Record, read_record, write_record
from mibench.source import code_digest

BOARD = Path(__file__).parents[2] / "leaderboards" / "quick" / "records" / "digits" / "vp"
OTHER = {"torch": "1.0"}


@pytest.fixture(scope="module")
def attacked():
    return read_record(BOARD / "loss-fresh-s0.json")


@pytest.fixture(scope="module")
def sampled():
    return read_record(BOARD / "utility-s0.json")


def changed(record, **fields):
    """The same record with other fields; dicts are joined, and the calibrated AUROC may be given."""
    told = record.model_dump(mode="json")
    if "auroc" in fields:
        told["attack"]["calibrated"]["auroc"]["value"] = fields.pop("auroc")
    for name, value in fields.items():
        told[name] = told.get(name, {}) | value if isinstance(value, dict) else value
    return Record.model_validate(told).sealed()


def test_the_same_is_the_same_whenever_and_however_fast(attacked):
    assert compare(attacked, changed(attacked, seconds=99.0, environment={"threads": 3}))[0] == "same"


def test_other_scores_on_the_same_versions_differ(attacked, sampled):
    moved = changed(attacked, attack={"scores": "0" * 64})
    verdict, words = compare(attacked, moved)
    assert verdict == "differs" and "scores" in words
    assert "figures" in compare(attacked, changed(attacked, auroc=0.9))[1]
    other = changed(attacked, model={"digest": "0" * 64}, key="0" * 64, attack={"scores": "0" * 64})
    assert "weights" in compare(attacked, other)[1]
    assert compare(sampled, changed(sampled, utility={"samples": "0" * 64}))[0] == "differs"


def test_elsewhere_intervals_decide(attacked):
    low, high = attacked.attack.calibrated.auroc.interval
    for value, verdict in ((low + 0.001, "agrees"), (high - 0.001, "agrees"), (high + 0.2, "differs")):
        other = changed(attacked, auroc=value, attack={"scores": "0" * 64}, environment=OTHER)
        found, words = compare(attacked, other)
        assert found == verdict and "torch" in words and "1.0" in words


def test_elsewhere_distances_may_differ_by_a_tenth(sampled):
    for factor, verdict in ((1.05, "agrees"), (2.0, "differs")):
        utility = {"samples": "0" * 64, "distance": sampled.utility.distance * factor}
        assert compare(sampled, changed(sampled, utility=utility, environment=OTHER))[0] == verdict


@pytest.mark.parametrize("fields", [{"status": "n/a", "reason": "no"}, {"cell": {"seed": 9}}])
def test_another_outcome_or_cell_differs(attacked, fields):
    assert compare(attacked, changed(attacked, **fields, environment=OTHER))[0] == "differs"


def test_training_in_other_company_lets_intervals_decide(attacked):
    other = changed(attacked, model={"together": 8, "digest": "0" * 64}, key="0" * 64)
    assert compare(attacked, other)[0] == "agrees"


# ── what validate says ────────────────────────────────────────────────────────────────────────────────────────────────
def board(folder, *records):
    folder.mkdir()
    (folder / "suite.toml").write_text('datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["loss"]\n')
    for record in records:
        write_record(folder / "records" / "digits" / "vp" / "loss-fresh-s0.json", record)
    return folder


def test_copies_whose_scores_moved_are_found(attacked, cli, tmp_path):
    one, same = board(tmp_path / "one", attacked), board(tmp_path / "same", attacked)
    assert cli("validate", one, same)[0] == 0
    moved = board(tmp_path / "moved", changed(attacked, attack={"scores": "0" * 64}))
    code, out, _ = cli("validate", one, moved)
    assert code == 1 and "differs from" in out and "other scores" in out


def test_code_that_changed_without_its_version_is_noted(attacked, cli, tmp_path):
    now = code_digest(build(load(), "attack", "loss"))
    code, out, _ = cli("validate", board(tmp_path / "now", changed(attacked, code={"attack": now})))
    assert code == 0 and "note" not in out
    code, out, _ = cli("validate", board(tmp_path / "then", changed(attacked, code={"attack": "class:0"})))
    assert code == 0 and "other code of loss" in out


# ── digests of code ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_older_record_has_no_code_and_its_digest_holds(attacked):
    told = json.loads((BOARD / "loss-fresh-s0.json").read_text())
    assert "code" not in told and attacked.code == {} and "code" not in attacked.model_dump()
    assert "code" in changed(attacked, code={"attack": "0"}).model_dump()


def test_code_is_that_of_the_class_its_bases_and_what_it_wraps():
    digest = {
        name: code_digest(build(load(), "attack", name)) for name in ("pia", "pia:p=2", "pian", "secmi", "secmi+filter")
    }
    assert digest["pia"] == digest["pia:p=2"] and all(len(text) == 64 for text in digest.values())
    assert len(set(digest.values())) == 4


SOURCE = """
from mibench import Attack, hookimpl

class Mine(Attack):
    "A loose attack."
    name = "mine"
    published = "x"

@hookimpl
def mibench_attacks():
    return [Mine]
"""


def test_code_of_a_loose_file_changes_with_it_and_not_with_its_line_ends(tmp_path):
    found = []
    for k, text in enumerate((SOURCE, SOURCE.replace("\n", "\r\n"), SOURCE + "# more\n")):
        path = tmp_path / str(k) / "mine.py"
        path.parent.mkdir()
        path.write_bytes(text.encode())
        found.append(code_digest(build(load((str(path),)), "attack", "mine")))
    assert found[0] == found[1] != found[2]


# ── verify ────────────────────────────────────────────────────────────────────────────────────────────────────────────
TINY = """
datasets = ["digits:members=20,nonmembers=40,reference=200"]
defenses = ["vp"]
attacks = ["pia"]
controls = false
[recipe.digits]
steps = 30
width = 32
[utility]
samples = 100
evaluations = 5
"""


@pytest.mark.slow
def test_verify_recomputes_and_finds_what_was_made_up(tmp_path):
    (tmp_path / "suite.toml").write_text(TINY)

    def mibench(*words):
        command = [sys.executable, "-m", "mibench", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert mibench("verify", tmp_path).returncode == 1
    assert mibench("run", tmp_path).returncode == 0
    paths = sorted((tmp_path / "records").rglob("*.json"))
    records = [read_record(path) for path in paths]
    assert set(records[0].code) == {"dataset", "defense", "attack"} and set(records[1].code) == {"dataset", "defense"}
    sound = mibench("verify", tmp_path, "--sample", 9)
    assert sound.returncode == 0 and sound.stdout.count("same key") == 2 and "2 of 2 cells verified" in sound.stdout
    assert len(mibench("verify", tmp_path, "--sample", 1).stdout.splitlines()) == 2
    write_record(paths[0], changed(records[0], auroc=1.0))
    wrong = mibench("verify", tmp_path, "--sample", 9)
    assert wrong.returncode == 1 and "differs  digits" in wrong.stdout and "1 of 2 cells verified" in wrong.stdout
