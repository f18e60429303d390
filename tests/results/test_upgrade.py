"""Records of older metrics are upgraded from their ranks and counts, or shown as outdated."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mibench.results import upgrade
from mibench.results.record import digest_of, read_record
from mibench.results.store import Store
from mibench.suite.contents import contents
from mibench.suite.plan import Plan

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "leaderboards" / "quick"
CHOICES = ("published", "calibrated", "oracle")


def rewrite(path, change):
    """Change the metrics of a record, if it has some, and seal it anew."""
    record = json.loads(path.read_text())
    if record["attack"]:
        change(record["attack"])
        record["digest"] = digest_of({name: part for name, part in record.items() if name != "digest"})
        path.write_text(json.dumps(record))


def strip(attack):
    """As of version 2, without a figure that ranks, counts and AUROCs of settings give."""
    attack["version"] = 2
    for name in CHOICES:
        attack[name]["fixed"] |= {"accuracy": {"value": 0.123}, "epsilon": 9.0}
        attack[name]["auroc"]["value"] = 0.123
        if attack[name]["setting"] == attack["calibrated"]["setting"]:
            del attack[name]["auroc"], attack[name]["tpr"], attack[name]["fixed"]["accuracy"]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in (folder / "records").rglob("*.json")}


@pytest.fixture
def old_board(tmp_path):
    """The quick board with all its records of metrics version 2."""
    board = shutil.copytree(QUICK, tmp_path / "quick")
    for path in (board / "records").rglob("*.json"):
        rewrite(path, strip)
    return board


@pytest.fixture
def old_record(tmp_path):
    """One record of a small board, whose three settings differ, of metrics version 2."""
    for path in sorted((QUICK / "records").rglob("*.json")):
        metrics = read_record(path).attack
        if metrics and len({getattr(metrics, name).setting for name in CHOICES}) == 3:
            break
    (tmp_path / "suite.toml").write_text((QUICK / "suite.toml").read_text())
    target = tmp_path / path.relative_to(QUICK)
    target.parent.mkdir(parents=True)
    shutil.copy(path, target)
    rewrite(target, strip)
    return target


def test_one_command_upgrades_a_board(old_board, cli, monkeypatch):
    original = files(QUICK)
    attacked = sum(json.loads(content)["attack"] is not None for content in original.values())
    before = files(old_board)
    with monkeypatch.context() as patch:
        patch.setattr("mibench.plugins.load", lambda *args: pytest.fail("upgrade has loaded the plugins"))
        code, out, _ = cli("upgrade", old_board, "--check")
        assert (code, files(old_board)) == (1, before) and f"{attacked} can be upgraded" in out
        code, out, _ = cli("upgrade", old_board)
        assert code == 0 and f"{attacked} upgraded, {len(original) - attacked} current, 0 cannot" in out
    assert files(old_board) == original
    assert cli("upgrade", old_board, "--check")[0] == cli("validate", old_board)[0] == 0


def test_outdated_records_are_shown(old_board, cli):
    code, out, _ = cli("validate", old_board)
    assert code == 1 and "version 2 and not 3; run `mibench upgrade`" in out
    assert cli("leaderboard", old_board)[0] == 0
    page = (old_board / "README.md").read_text()
    assert "records are outdated**" in page.split("## ")[0] and "outdated[^" in page
    code, out, _ = cli("status", old_board)
    assert " outdated" in out.splitlines()[-1] and "outdated  digits" in out


def test_a_run_upgrades_what_it_finds_outdated(old_board, cli):
    code, out, err = cli("run", old_board)
    assert code == 0 and " 0 now" in out and "outdated records upgraded" in err
    assert files(old_board) == files(QUICK)


@pytest.mark.slow
def test_a_raised_version_in_a_copy_of_the_repository(tmp_path):
    """On a machine with an empty store; every figure stays."""
    shutil.copytree(ROOT / "mibench", tmp_path / "mibench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(QUICK, tmp_path / "leaderboards" / "quick")
    source = tmp_path / "mibench" / "results" / "figures.py"
    text = source.read_text()
    assert "\nMETRICS = 3\n" in text
    source.write_text(text.replace("\nMETRICS = 3\n", "\nMETRICS = 4\n"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    def mibench(*words):
        command = [sys.executable, "-m", "mibench", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = mibench("upgrade")
    assert done.returncode == 0 and " 0 cannot be upgraded" in done.stdout, done.stdout + done.stderr
    sound = mibench("validate")
    assert sound.returncode == 0 and "quick: sound" in sound.stdout, sound.stdout + sound.stderr
    for name, content in files(QUICK).items():
        before, now = json.loads(content), json.loads((tmp_path / "leaderboards" / "quick" / name).read_text())
        if before["attack"]:
            assert now["attack"].pop("version") == 4 and before["attack"].pop("version") == 3
            assert now.pop("digest") != before.pop("digest")
        assert now == before


def test_what_cannot_be_computed_is_null_with_a_reason(old_record, cli, monkeypatch):
    """At another setting than the calibrated one: the interval of the AUROC and the TPRs, if these have changed."""
    monkeypatch.setattr(upgrade, "CHANGES", {3: frozenset({"auroc", "tpr"})})
    assert cli("upgrade", old_record.parents[3])[0] == cli("validate", old_record.parents[3])[0] == 0
    metrics = read_record(old_record).attack
    assert metrics.calibrated.auroc.interval and metrics.calibrated.tpr["0.1"].value is not None
    for chosen in (metrics.published, metrics.oracle):
        assert chosen.auroc.value == metrics.settings[chosen.setting][1] and chosen.auroc.interval is None
        assert chosen.tpr["0.1"].value is None and chosen.tpr["0.1"].reason == "not stored by metrics version 2"
        assert chosen.tpr["0.001"].reason.endswith("are needed") and chosen.fixed.accuracy.interval
    assert cli("leaderboard", old_record.parents[3])[0] == 0


def test_the_store_keeps_what_an_outdated_record_needs(old_record, tmp_path):
    store, key = Store(tmp_path / "store"), json.loads(old_record.read_text())["key"]
    for name in (key, "0" * 64):
        store.save("scores", name, {"x": torch.zeros(1)}, {})
    listed = contents(store, [Plan([], tmp_path / "records", store)])
    assert {artifact.path.name: artifact.needed for artifact in listed} == {key: True, "0" * 64: False}


def no_ranks(attack):
    del attack["ranks"]
    attack["version"] = 1


def other_counts(attack):
    attack["calibrated"]["fixed"] |= {"tpr": 0.9999}


def other_type(attack):
    attack["members"] = "many"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (no_ranks, "version 1, which stored no ranks; run the suite again"),
        (other_counts, "TPR and FPR at any one threshold"),
        (other_type, "has the wrong type"),
    ],
)
def test_what_cannot_be_upgraded_stays_and_is_counted(old_record, cli, change, reason):
    rewrite(old_record, change)
    before, board = old_record.read_bytes(), old_record.parents[3]
    code, out, err = cli("upgrade", board)
    assert code == 1 and "1 cannot be upgraded" in out and reason in out and not err
    assert old_record.read_bytes() == before
    assert cli("leaderboard", board)[0] == 0 and "**1 record is outdated**" in (board / "README.md").read_text()
    assert cli("validate", board)[0] == 1


def test_an_edited_record_is_not_upgraded(old_record, cli):
    old_record.write_text(old_record.read_text().replace("0.123", "0.124"))
    code, out, _ = cli("upgrade", old_record.parents[3])
    assert code == 1 and "was edited" in out
    assert cli("upgrade", old_record.parent / "nowhere")[0] == 2
