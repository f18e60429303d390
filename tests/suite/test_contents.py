"""What the store holds, what of it is needed, and that nothing else is ever deleted."""

import os
import time

import pytest
import torch
from filelock import FileLock

from mibench.plugins import load
from mibench.results.record import Record, write_record
from mibench.results.store import Store
from mibench.suite.plan import Plan
from mibench.suite.suite import load_suite, plan_cells

SUITE = 'datasets = ["digits"]\ndefenses = ["vp", "ve"]\nattacks = ["pia", "lira:shadows=2"]\ncontrols = false\n'
ONE = {"x": torch.zeros(1)}


def record(cell, weights, **model):
    """A record of a cell that failed, with what it stands on."""
    return Record(
        key=cell.key(weights),
        status="failed",
        reason="made up",
        labels=cell.labels,
        cell=cell.spec(),
        model={"key": cell.model_key, "digest": weights, **model},
        seconds=0.0,
    ).sealed()


@pytest.fixture
def plan(tmp_path):
    """A suite whose models, shadows and scores are stored, and its VP recorded."""
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "suite.toml").write_text(SUITE)
    plan = Plan(plan_cells(load(), load_suite(str(folder)).suite), folder / "records", Store(tmp_path / "store"))
    for cell in plan.cells:
        digest = plan.store.save("models", cell.model_key, ONE, {})["digest"]
        for shadow in cell.shadows():
            plan.store.save("models", shadow.model_key, ONE, {})
        plan.store.save("scores" if cell.attack else "samples", cell.key(digest), ONE, {})
        if cell.labels["defense"] == "vp":
            write_record(plan.path(cell), record(cell, digest))
    return plan


def held(store):
    kinds = ("models", "scores", "samples", "partials", "features")
    return {path.relative_to(store.root).as_posix() for kind in kinds for path in (store.root / kind).iterdir()}


def test_only_what_nothing_needs_is_deleted_and_only_on_demand(plan, cli, tmp_path):
    store, board = plan.store, plan.records.parent
    needed = held(store)
    for kind in ("models", "scores", "samples"):
        store.save(kind, "0" * 64, ONE, {})
    store.save("partials", "b" * 64 + "-00000010", ONE, {})
    store.save("models", "1" * 64, ONE, {})
    (store.folder("models", "1" * 64) / "meta.json").unlink()
    with pytest.raises(Exception, match="corrupt"):
        store.meta("models", "1" * 64)
    for age, name in ((7200, "old"), (0, "new"), (-7200, "of the future")):
        making = store.folder("scores", f".making-{name}")
        making.mkdir()
        os.utime(making, (time.time() - age,) * 2)
    before = held(store)
    code, out, _ = cli("cache", board, "--store", store.root)
    assert code == 0 and held(store) == before
    assert "corrupt: models/" + "1" * 64 in out and "half made: scores/.making-old" in out
    assert "a training under way: partials/bbb" in out and "--prune deletes 5 that nothing needs" in out
    code, out, _ = cli("cache", board, "--store", store.root, "--prune")
    assert code == 0 and "deleted 5 that nothing needs" in out
    kept = {f"partials/{'b' * 64}-00000010", "scores/.making-new", "scores/.making-of the future"}
    assert held(store) == needed | kept
    assert all(store.meta(*name.split("/")) for name in needed)


def test_records_need_what_they_stand_on_though_no_suite_plans_it(plan, cli):
    store, board = plan.store, plan.records.parent
    gone = [cell for cell in plan.cells if cell.labels["defense"] == "ve"]
    shadow = gone[2].shadows()[0]
    (store.folder("models", shadow.model_key) / "meta.json").unlink()
    with pytest.raises(Exception, match="corrupt"):
        store.meta("models", shadow.model_key)
    digest = store.save("models", shadow.model_key, {"x": torch.ones(1)}, {})["digest"]
    weights = plan.weights(gone[2])
    write_record(store.root / "records" / "x" / gone[2].path, record(gone[2], weights, shadows=[digest]))
    (board / "suite.toml").write_text(SUITE.replace(', "ve"', ""))
    code, _, _ = cli("cache", board, "--store", store.root, "--prune")
    assert code == 0
    assert store.has("models", gone[0].model_key) and store.has("models", shadow.model_key)
    assert store.has("scores", gone[2].key(weights)) and not store.has("scores", gone[1].key(weights))
    assert not store.has("models", gone[2].shadows()[1].model_key)


def test_a_suite_whose_data_are_not_here_keeps_what_its_records_need(plan, cli):
    suite = plan.records.parent / "suite.toml"
    suite.write_text(suite.read_text().replace("datasets = [", 'datasets = ["images:path=nowhere.zip", '))
    before = held(plan.store)
    code, _, err = cli("cache", plan.records.parent, "--store", plan.store.root, "--prune")
    assert code == 0 and "only what its records need" in err and "no folder or archive nowhere.zip" in err
    kept = held(plan.store)
    needed = {f"models/{cell.model_key}" for cell in plan.cells if cell.labels["defense"] == "vp"}
    assert needed and needed <= kept < before


def test_nothing_is_pruned_under_a_run_or_for_no_suite(plan, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = held(plan.store)
    (plan.store.root / "locks").mkdir()
    with FileLock(plan.store.root / "locks" / "job"):
        code, _, err = cli("cache", plan.records.parent, "--store", plan.store.root, "--prune")
    assert code == 1 and "a run is using the store" in err
    code, _, err = cli("cache", "--store", plan.store.root, "--prune")
    assert code == 2 and "name the suites" in err
    assert held(plan.store) == before
