"""The order of jobs and the time left, from estimates; no job runs."""

import itertools
from dataclasses import replace

import pytest

from mibench.jobs import estimate as estimates
from mibench.jobs.estimate import Clock, estimate, shard
from mibench.jobs.job import group_trainings
from mibench.plugins import load
from mibench.suite.suite import Suite, plan_cells


@pytest.fixture(scope="module")
def cells():
    suite = Suite(
        datasets=["digits"],
        defenses=["vp", "hold2"],
        attacks=["pia", "lira:shadows=2"],
        seeds=[0, 1, 2],
        checkpoints=[0.25, 0.5],
        recipe={"digits": {"steps": 200}},
    )
    return plan_cells(load(), suite)


@pytest.mark.parametrize("of", [1, 2, 5, 40])
def test_shards_are_a_partition_that_keeps_trainings_whole(cells, of):
    parts = [shard(cells, number, of) for number in range(1, of + 1)]
    assert sorted(cell.path for part in parts for cell in part) == sorted(cell.path for cell in cells)
    trainings = [{cell.training_key for cell in part} for part in parts]
    assert not any(one & other for one, other in itertools.combinations(trainings, 2))
    assert parts == [shard(list(reversed(cells)), number, of)[::-1] for number in range(1, of + 1)]


def test_shards_are_about_as_long_as_each_other(cells):
    costs = [sum(estimate("measure", [cell]) for cell in shard(cells, number, 2)) for number in (1, 2)]
    assert max(costs) < 1.5 * min(costs)


def test_longer_recipes_take_longer(cells):
    (short,) = [cell for cell in cells if cell.training_key == cells[0].training_key and not cell.attack][-1:]
    long = replace(short, recipe=short.recipe.model_copy(update={"steps": 2000}))
    assert estimate("models", [long]) > 3 * estimate("models", [short]) > 0


def test_time_left_is_what_is_left_at_the_pace_so_far(monkeypatch, cells):
    now, group = [0.0], cells[:1]
    monkeypatch.setattr(estimates.time, "monotonic", lambda: now[0])
    measuring, training = estimate("measure", group), estimate("models", group)
    clock = Clock()
    assert clock.seconds_left([("measure", group)], 1) is None  # nothing is known yet
    clock.start("a", "measure", 2.0)
    now[0] = 6.0
    clock.end("a", 1 << 31)
    assert clock.seconds_left([("measure", group)], 1) == pytest.approx(3 * measuring)  # three times the estimate
    assert clock.seconds_left([("measure", group)], 2) == pytest.approx(3 * measuring / 2)
    assert clock.seconds_left([("models", group)], 1) == pytest.approx(3 * training)  # the pace of other jobs
    clock.start("b", "models", 4.0)
    now[0] = 8.0
    clock.progress("b", 0.25)
    assert clock.seconds_left([], 1) == pytest.approx(6.0)  # a quarter in two seconds
    assert clock.memory == {"models": estimates.MEMORY, "measure": 1 << 31, "exact": estimates.MEMORY}


def trainings_of(groups):
    """How many trainings each group has that makes targets, and each that makes shadow models."""
    trained = [group for group in groups if group[0].model_kind == "trained"]
    sizes = [(group[0].shadow is not None, len({model.training_key for model in group})) for group in trained]
    return [sorted(size for shadow, size in sizes if shadow == kind) for kind in (False, True)]


def test_seeds_of_one_defense_share_a_job_with_all_checkpoints(cells):
    models = {model.model_key: model for cell in cells for model in cell.models()}
    groups = group_trainings(list(models.values()))
    assert sorted(model.model_key for group in groups for model in group) == sorted(models)
    for group in groups:
        assert len({(model.defense.label, model.model_kind, model.shadow is None) for model in group}) == 1
    assert trainings_of(groups) == [[3, 3], [6, 6]]
    # the exact models of seed 0, the fresh ones of all seeds, the targets after two checkpoints and at the end
    assert {len(group) for group in groups if group[0].shadow is None} == {1, 3, 9}


def test_every_worker_has_its_share_of_the_trainings(cells):
    (first, *_) = (cell for cell in cells if cell.model_kind == "trained")
    seeds = [replace(first, attack=None, checkpoint=0, seed=seed) for seed in range(20)]
    sizes = {workers: trainings_of(group_trainings(seeds[:5], workers))[0] for workers in (1, 2, 3, 8)}
    assert sizes == {1: [5], 2: [2, 3], 3: [1, 2, 2], 8: [1] * 5}
    assert trainings_of(group_trainings(seeds))[0] == [10, 10]  # 16 at most
    (private, *_) = plan_cells(
        load(), Suite(datasets=["digits"], defenses=["vp+dp-sgd:noise=1"], attacks=["pia"], seeds=[0], controls=False)
    )
    alone = [replace(private, seed=seed) for seed in range(3)]
    assert trainings_of(group_trainings(alone))[0] == [1, 1, 1]


def test_trainings_that_were_interrupted_together_share_a_job_again(cells):
    (first, *_) = (cell for cell in cells if cell.model_kind == "trained")
    seeds = [replace(first, attack=None, checkpoint=0, seed=seed) for seed in range(4)]
    begun = {frozenset(seed.training_key for seed in seeds[1:]), frozenset(["another", seeds[0].training_key])}
    assert [[model.seed for model in group] for group in group_trainings(seeds, 2, begun)] == [[1, 2, 3], [0]]
