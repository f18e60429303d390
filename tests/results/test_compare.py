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
CPU = {"cpu": "GenuineIntel, 6, 207", "instructions": "AVX512", "blas": "MKL 2024.2"}
AMD = {"cpu": "AuthenticAMD, 25, 97"}


@pytest.fixture(scope="module")
def older():
    """A record from before records named their CPU."""
    return read_record(BOARD / "loss-fresh-s0.json")


@pytest.fixture(scope="module")
def attacked(older):
    return changed(older, environment=CPU)


@pytest.fixture(scope="module")
def sampled():
    record = read_record(BOARD / "utility-s0.json")
    return changed(record, environment=CPU, model={"trained_on": "Intel"})


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
    value, (low, high) = attacked.attack.calibrated.auroc.value, attacked.attack.calibrated.auroc.interval
    inside = 0.45 * low + 0.55 * value, 0.45 * high + 0.55 * value
    for value, verdict in ((inside[0], "agrees"), (inside[1], "agrees"), (high, "differs"), (low, "differs")):
        other = changed(attacked, auroc=value, attack={"scores": "0" * 64}, environment=OTHER)
        found, words = compare(attacked, other)
        assert found == verdict and "torch" in words and "1.0" in words


def test_elsewhere_distances_may_differ_by_a_tenth(sampled):
    for factor, verdict in ((1.05, "agrees"), (2.0, "differs")):
        utility = {"samples": "0" * 64, "distance": sampled.utility.distance * factor}
        assert compare(sampled, changed(sampled, utility=utility, environment=OTHER))[0] == verdict


@pytest.mark.parametrize("environment", [AMD, {"instructions": "AVX2"}, {"blas": "OpenBLAS 0.3"}])
def test_on_another_cpu_figures_decide(attacked, environment):
    moved = changed(attacked, attack={"scores": "0" * 64}, environment=environment)
    verdict, words = compare(attacked, moved)
    assert verdict == "agrees" and next(iter(environment.values())) in words
    value = attacked.attack.calibrated.auroc.value
    for shift in (0.05, -0.05):
        verdict, words = compare(attacked, changed(moved, auroc=value + shift))
        assert verdict == "differs" and "calibrated AUROC" in words


def test_where_a_record_names_no_cpu_figures_decide(older, attacked):
    moved = {"attack": {"scores": "0" * 64}}
    for one, other in (
        (older, changed(attacked, **moved)),
        (attacked, changed(older, **moved)),
        (older, changed(older, **moved)),
    ):
        verdict, words = compare(one, other)
        assert verdict == "agrees" and "not every record names its CPU" in words
    assert compare(older, changed(older, auroc=older.attack.calibrated.auroc.value + 0.05))[0] == "differs"


def test_models_that_were_trained_on_another_cpu_need_only_agree(sampled):
    """A store may be carried from one machine to another."""
    other = changed(sampled, model={"trained_on": "AMD", "digest": "0" * 64}, key="0" * 64)
    verdict, words = compare(sampled, other)
    assert verdict == "agrees" and "models trained on Intel and on AMD" in words


def test_settings_that_rest_on_rounding_are_not_compared(older):
    setting = older.attack.calibrated.setting
    other = changed(older, auroc=older.attack.calibrated.auroc.value + 0.05)
    assert compare(older, other)[0] == "differs"
    assert compare(older, changed(other, attack={"unstable": {setting: 0.1}}))[0] == "agrees"


@pytest.mark.parametrize("fields", [{"status": "n/a", "reason": "no"}, {"cell": {"seed": 9}}])
def test_another_outcome_or_cell_differs(attacked, fields):
    assert compare(attacked, changed(attacked, **fields, environment=OTHER))[0] == "differs"


@pytest.mark.parametrize("how", [{"together": 8}, {"training": 2}])
def test_training_in_other_company_or_another_way_lets_intervals_decide(attacked, how):
    other = changed(attacked, model={**how, "digest": "0" * 64}, key="0" * 64)
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


def test_an_older_record_has_no_code_and_its_digest_holds(older):
    told = json.loads((BOARD / "loss-fresh-s0.json").read_text())
    assert "code" not in told and older.code == {} and "code" not in older.model_dump()
    assert "cpu" not in older.model_dump()["environment"] and older.digest == older.content_digest()
    assert "code" in changed(older, code={"attack": "0"}).model_dump()


def test_code_of_whole_files_is_not_compared(attacked, cli, tmp_path):
    code, out, _ = cli("validate", board(tmp_path / "files", changed(attacked, code={"attack": "0" * 64})))
    assert code == 0 and "note" not in out


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


ANOTHER_CPU = """
datasets = ["digits:members=50,nonmembers=400,reference=200"]
defenses = ["vp"]
attacks = ["pia"]
model = "fresh"
controls = false
utility.samples = 100
utility.evaluations = 2
"""


def test_verify_on_another_cpu_asks_for_agreement(cli, tmp_path):
    """Records and a store of another machine: other bits everywhere, and the same figures but for one."""
    (tmp_path / "suite.toml").write_text(ANOTHER_CPU)
    assert cli("run", tmp_path)[0] == 0
    path = next((tmp_path / "records").rglob("pia-*.json"))
    record = read_record(path)
    assert record.environment.cpu and record.environment.instructions and record.environment.blas
    other = changed(record, attack={"scores": "0" * 64}, environment=AMD)
    value = record.attack.calibrated.auroc.value
    for made, code, word in ((other, 0, "agrees"), (changed(other, auroc=value + 0.05), 1, "differs")):
        write_record(path, made)
        verified = cli("verify", tmp_path, "--sample", "9")
        assert verified[0] == code and word in verified[1] and "AuthenticAMD" in verified[1]


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
