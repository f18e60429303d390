"""The loop of development: a method of a third party is edited, and its suite is run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from third_party import Package

import mibench
from mibench.results.record import Record, read_record, write_record

NOTE = "the code of {} has changed since {} of these records were made"


@pytest.fixture
def ran(package: Package) -> Package:
    """The package, with all records of its suite and of its second attack."""
    code, out, err = package.run("run", package.suite, "--attack", "late")
    assert code == 0 and "6 of 6 cells done, 6 now" in out, err
    return package


def again(package: Package, *more: str) -> tuple[str, str]:
    """Output and messages of the same run."""
    code, out, err = package.run("run", package.suite, "--attack", "late", *more)
    assert code == 0, err
    return out, err


def areas(package: Package) -> dict[str, float]:
    """The AUROC of each attack on each defense."""
    records = {path: read_record(path) for path in package.suite.rglob("records/**/*.json")}
    return {
        f"{record.labels['attack']} {record.labels['defense']}": record.attack.calibrated.auroc.value
        for record in records.values()
        if record.attack
    }


def test_an_edited_attack_is_noted_and_made_again_on_request(ran: Package) -> None:
    before = areas(ran)
    ran.edit('return {"t_min": -1.0', 'return {"t_min": 1.0')
    out, err = again(ran)
    assert "6 of 6 cells done, 0 now" in out and areas(ran) == before
    assert NOTE.format("attack direct", 2) in err and "--again" in err and "raise its version" in err
    assert err.count("the code of") == 1
    out, err = again(ran, "--again")
    assert "6 of 6 cells done, 2 now" in out and "2 cells are computed anew, since the code of attack direct" in err
    after = areas(ran)
    for defense in ("calm", "brisk"):
        assert after[f"direct {defense}"] == pytest.approx(1 - before[f"direct {defense}"])
        assert after[f"late {defense}"] == before[f"late {defense}"]
    out, err = again(ran, "--again")
    assert "0 now" in out and "the code of" not in err


def test_quiet_does_not_hide_it(ran: Package) -> None:
    ran.edit("model.at_rest(x), 0.2)", "model.at_rest(x), 0.3)")
    _, err = again(ran, "--quiet")
    assert NOTE.format("attack late", 2) in err and len(err.splitlines()) == 1


def test_each_edited_component_is_one_note(ran: Package) -> None:
    ran.edit('"""VP under another name."""', '"""VP under another name."""\n\n    beta_max: float = 25.0')
    ran.edit("model.at_rest(x), 0.2)", "model.at_rest(x), 0.3)")
    _, err = again(ran)
    assert NOTE.format("defense calm", 3) in err and NOTE.format("attack late", 2) in err
    assert err.count("the code of") == 2


def test_an_edited_defense_has_its_models_made_anew(ran: Package, tmp_path: Path) -> None:
    store = tmp_path / "store"
    models = set((store / "models").iterdir())
    ran.edit('"""VP under another name."""', '"""VP under another name."""\n\n    extra: ClassVar[int] = 1')
    ran.edit("from mibench import Attack", "from typing import ClassVar\nfrom mibench import Attack")
    times = {path: path.stat().st_ctime_ns for path in models}
    out, err = again(ran, "--again")
    assert "6 of 6 cells done, 3 now" in out and "3 cells are computed anew, since the code of defense calm" in err
    assert set((store / "models").iterdir()) == models
    assert sum(path.stat().st_ctime_ns != times[path] for path in models) == 1


def test_comments_and_docstrings_are_no_edit(ran: Package) -> None:
    ran.edit('"""Two defenses and two attacks."""', '"""Two of each."""')
    ran.edit("class Direct(Attack):", "# a comment\nclass Direct(Attack):")
    ran.edit('"""The same at a later time."""', '"""The same, later."""')
    out, err = again(ran)
    assert "0 now" in out and "the code of" not in err


def test_a_raised_version_needs_no_flag(ran: Package) -> None:
    ran.edit("model.at_rest(x), 0.2)", "model.at_rest(x), 0.3)")
    ran.set_version("late", 2)
    out, err = again(ran)
    assert "6 of 6 cells done, 2 now" in out and "the code of" not in err


def test_stored_scores_of_other_code_are_not_used(ran: Package) -> None:
    """Not even where somebody deletes the records by hand."""
    before = areas(ran)
    ran.edit('return {"t_min": -1.0', 'return {"t_min": 1.0')
    shutil.rmtree(ran.suite / "records")
    assert "6 of 6 cells done, 6 now" in again(ran)[0]
    assert areas(ran)["direct calm"] == pytest.approx(1 - before["direct calm"])


def test_records_that_say_nothing_of_code_are_left_alone(ran: Package) -> None:
    for path in ran.suite.rglob("records/**/*.json"):
        raw = json.loads(path.read_text())
        raw["code"] = dict.fromkeys(raw["code"], "0" * 64)  # of whole files, as older records have
        del raw["digest"]
        write_record(path, Record.model_validate(raw).sealed())
    ran.edit("model.at_rest(x), 0.2)", "model.at_rest(x), 0.3)")
    out, err = again(ran, "--again")
    assert "0 now" in out and "the code of" not in err


LOOSE = '''from mibench import Attack, hookimpl


class Size(Attack):
    """The size of a sample."""

    name = "size"
    published = "x"

    def score(self, model, x, ctx):
        return {"x": x.flatten(1).norm(dim=1)}


@hookimpl
def mibench_attacks():
    return [Size]
'''


def test_in_python_an_edit_is_a_warning(tmp_path: Path) -> None:
    """Even in the session that has loaded the file before."""
    file = tmp_path / "size.py"
    file.write_text(LOOSE)
    cell = {"dataset": "digits:members=20,nonmembers=40,reference=200", "model": "exact", "plugins": (file,)}
    small = {"samples": 100, "evaluations": 2}
    first = mibench.run("vp", "size", **cell, utility=small)
    file.write_text(LOOSE.replace("x.flatten(1).norm", "-1.0 * x.flatten(1).norm"))
    with pytest.warns(UserWarning, match=r"attack size has changed .* again=True"):
        assert mibench.run("vp", "size", **cell, utility=small) == first
    second = mibench.run("vp", "size", **cell, utility=small, again=True)
    assert first.attack and second.attack
    assert second.attack.settings["x"][1] == pytest.approx(1 - first.attack.settings["x"][1])
