"""Trainings that are interrupted go on where they were, to the same weights."""

import multiprocessing
import random
import time
from dataclasses import replace

import pytest
import torch
from benches import cell, silent

from mibench import MibenchError
from mibench.evaluate import trainings
from mibench.evaluate.partial import PartialTraining
from mibench.plugins import load
from mibench.results.store import Store
from mibench.suite.cells import CellSpec

STEPS = 60
RECIPE = {"steps": STEPS, "width": 16, "depth": 1, "batch": 8}
CELLS = {
    "alone": [cell(model="trained", recipe=RECIPE), cell(model="trained", recipe=RECIPE, checkpoint=12)],
    "with teachers": [cell(model="trained", defense="vp+distill", recipe=RECIPE)],
    "private": [cell(defense="vp+dp-sgd:noise=1,steps=1+dropout", model="trained", recipe=RECIPE)],
    "one by one": [cell(model="trained", recipe=RECIPE, seed=seed) for seed in (0, 1)],
    "together": [
        cell(model="trained", recipe=RECIPE, seed=seed, checkpoint=checkpoint)
        for seed in (0, 1)
        for checkpoint in (0, 12)
    ],
}


def job(jobs, root, together):
    """What a process does: train, and keep the training after every step."""
    torch.set_num_threads(1)
    trainings.stacking_is_faster = lambda several, say: together
    registry = load()
    trainings.make_models([one.cell(registry) for one in jobs], Store(root), "cpu", silent(print), save_every=0.0)


def made(way, store, monkeypatch, every=1e9, say=lambda text: None):
    """The digests of the models of a way, made in this process."""
    monkeypatch.setattr(trainings, "stacking_is_faster", lambda several, say: way == "together")
    trainings.make_models(CELLS[way], store, "cpu", silent(say), every)
    return digests(way, store)


def digests(way, store):
    return [store.meta("models", one.model_key)["digest"] for one in CELLS[way]]


def written(store):
    """The steps after which a training under way is kept, all trainings and finished models counted."""
    names = [path.name for kind in ("partials", "models") for path in (store.root / kind).glob("[!.]*")]
    return sum(int(name.rpartition("-")[2]) if "-" in name else STEPS for name in names)


@pytest.mark.parametrize("way", ["one by one", "together", "private"])
def test_killed_at_three_random_moments_it_ends_at_the_same_weights(way, store, tmp_path, monkeypatch):
    """SIGKILL; what a new process would choose, alone or together, does not count once a training has begun."""
    expected = made(way, Store(tmp_path / "whole"), monkeypatch)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mibench.evaluate.trainings", "mibench_attacks", "sklearn.datasets", "torch._dynamo"]
    )
    jobs, draw, deadline = [CellSpec.of(one) for one in CELLS[way]], random.Random(way), time.monotonic() + 300
    for together in (way == "together", way != "together", way != "together"):
        start = written(store)
        process = context.Process(target=job, args=(jobs, store.root, together))
        process.start()
        while written(store) < start + 8 and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.05 * draw.random())
        assert process.is_alive(), "it was to be killed, and had ended"
        process.kill()
        process.join()
    assert not all(store.has("models", one.model_key) for one in CELLS[way])
    said = []
    monkeypatch.setattr(trainings, "stacking_is_faster", lambda several, say: way != "together")
    trainings.make_models(CELLS[way], store, "cpu", silent(said.append))
    assert any("continues after step" in line for line in said)
    assert digests(way, store) == expected
    assert not list((store.root / "partials").iterdir())
    facts = store.meta("models", CELLS[way][0].model_key)
    assert facts["together"] == (2 if way == "together" else 1)


def test_a_model_is_the_same_trained_alone_or_with_other_seeds(store, tmp_path, monkeypatch):
    made("together", store, monkeypatch)
    other, key = Store(tmp_path / "other"), CELLS["together"][2].model_key
    trainings.make_models(CELLS["together"][2:], other, "cpu", silent())
    (stacked, facts), (alone, own) = (where.load("models", key) for where in (store, other))
    assert (facts["together"], own["together"]) == (2, 1)
    assert all(torch.equal(stacked[name], alone[name]) for name in alone)


def test_one_training_that_was_begun_alone_does_not_keep_the_others_from_a_stack(store, monkeypatch):
    interrupted("alone", store, monkeypatch, at=40)
    monkeypatch.setattr(trainings, "stacking_is_faster", lambda several, say: True)
    seeds, said = [cell(model="trained", recipe=RECIPE, seed=seed) for seed in (0, 1, 2)], []
    trainings.make_models(seeds, store, "cpu", silent(said.append))
    assert [store.meta("models", one.model_key)["together"] for one in seeds] == [1, 2, 2]
    assert any("continues after step 4" in line for line in said)


def test_of_several_seeds_only_the_one_that_diverges_fails(store, monkeypatch):
    train, failed, seeds = trainings.train_stacked, [], CELLS["one by one"]

    def diverges(defense, models, members, recipe, drawn, callbacks):
        if 0 in drawn:
            raise FloatingPointError("inf")
        return train(defense, models, members, recipe, drawn, callbacks)

    monkeypatch.setattr(trainings, "stacking_is_faster", lambda several, say: True)
    monkeypatch.setattr(trainings, "train_stacked", diverges)
    report = replace(silent(), failed=lambda index, error: failed.append((index, str(error))))
    with pytest.raises(MibenchError, match="seed 0 cannot be trained"):
        trainings.make_models(seeds, store, "cpu", report)
    assert [index for index, _ in failed] == [0]
    assert [store.has("models", one.model_key) for one in seeds] == [False, True]


class Interrupted(Exception):
    """Stands in for a kill."""


def interrupted(way, store, monkeypatch, at):
    """Keep the training before a step of all those of a way, and stop some steps later."""
    steps = iter(range(10**6))

    def due(self):
        step = next(steps)
        if step > at + 3:
            raise Interrupted
        return step == at

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(PartialTraining, "due", due)
        made(way, store, patch)


def test_finished_models_of_a_group_are_there_before_it_ends(store, monkeypatch):
    interrupted("one by one", store, monkeypatch, at=STEPS + 10)
    assert [store.has("models", one.model_key) for one in CELLS["one by one"]] == [True, False]
    assert len(store.keys("partials", "")) == 1


@pytest.mark.parametrize("at", [STEPS // 2, STEPS + 5, 2 * STEPS + 9], ids=["teacher 1", "teacher 2", "student"])
def test_a_student_and_its_teachers_go_on_where_they_were(at, store, tmp_path, monkeypatch):
    expected, said = made("with teachers", Store(tmp_path / "whole"), monkeypatch), []
    interrupted("with teachers", store, monkeypatch, at)
    assert made("with teachers", store, monkeypatch, say=said.append) == expected
    assert any("continues after step" in line for line in said)
    assert not list((store.root / "partials").iterdir())


@pytest.mark.parametrize("damage", ["truncated", "edited", "other data"])
def test_what_does_not_fit_is_left_out_with_one_line(damage, store, tmp_path, monkeypatch):
    expected = made("alone", Store(tmp_path / "whole"), monkeypatch)
    interrupted("alone", store, monkeypatch, at=40)
    (kept,) = (store.root / "partials").iterdir()
    if damage == "truncated":
        tensors = kept / "tensors.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:1000])
    elif damage == "edited":
        (kept / "meta.json").write_text("{}")
    else:
        monkeypatch.setattr(trainings.torch, "__version__", "0")
    said = []
    assert made("alone", store, monkeypatch, say=said.append) == expected
    assert len(said) == 1 and ("is corrupt" in said[0] or "starts again" in said[0])
    assert not list((store.root / "partials").iterdir())


def test_a_store_that_is_full_does_not_end_the_training(store, tmp_path, monkeypatch):
    expected = made("alone", Store(tmp_path / "whole"), monkeypatch)
    true, said = Store.save, []

    def full(self, kind, *rest):
        if kind == "partials":
            raise MibenchError("cannot write to the store")
        return true(self, kind, *rest)

    monkeypatch.setattr(Store, "save", full)
    assert made("alone", store, monkeypatch, every=0.0, say=said.append) == expected
    assert len(said) == 1 and "cannot be saved" in said[0]


def test_the_newest_counts_and_replaces_the_others(store):
    partial = PartialTraining(store, "a" * 8, {}, "it", print, 0.0)
    assert not partial.exists and partial.read() is None
    partial.begin()
    assert partial.exists and partial.read() is None
    for done in (9, 10, 100):
        partial.write(done, {"x": torch.tensor(done)})
    assert store.keys("partials", "") == ["aaaaaaaa-00000100"]
    state = partial.read()
    assert state is not None and state["x"] == 100
    partial.delete()
    assert not partial.exists
