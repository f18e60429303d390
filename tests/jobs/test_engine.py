"""The order of jobs, their room and their time, without a job; and the GPU that each is given, with some."""

import itertools
from dataclasses import replace

import pytest

from mibench.jobs import engine, estimate
from mibench.jobs.engine import Local
from mibench.jobs.estimate import Clock, guess, shard
from mibench.jobs.scheduler import Work, execute
from mibench.plugins import load
from mibench.results.store import Store
from mibench.suite.plan import Plan
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
    costs = [sum(guess("measure", [cell]) for cell in shard(cells, number, 2)) for number in (1, 2)]
    assert max(costs) < 1.5 * min(costs)


def test_longer_recipes_are_guessed_to_be_longer(cells):
    (short,) = [cell for cell in cells if cell.training_key == cells[0].training_key and not cell.attack][-1:]
    long = replace(short, recipe=short.recipe.model_copy(update={"steps": 2000}))
    assert guess("models", [long]) > 3 * guess("models", [short]) > 0


def test_time_left_is_what_is_left_at_the_pace_so_far(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now[0])
    clock = Clock()
    assert clock.left({"measure": 10.0}, 1) is None  # nothing is known yet
    clock.start("a", "measure", 2.0)
    now[0] = 6.0
    clock.end("a", 1 << 31)
    assert clock.left({"measure": 10.0}, 1) == pytest.approx(30.0)  # three times as long as guessed
    assert clock.left({"measure": 10.0}, 2) == pytest.approx(15.0)
    assert clock.left({"models": 10.0}, 1) == pytest.approx(30.0)  # no better guess than that of the others
    clock.start("b", "models", 4.0)
    now[0] = 8.0
    clock.progress("b", 0.25)
    assert clock.left({}, 1) == pytest.approx(6.0)  # a quarter in two seconds
    assert clock.memory == {"models": estimate.MEMORY, "measure": 1 << 31, "exact": estimate.MEMORY}


def test_there_is_room_while_a_worker_is_idle_and_memory_suffices(monkeypatch):
    class Process:
        pid = 0

    def child(memory):
        return engine._Child(Process(), None, None, memory, 0.0)

    monkeypatch.setattr(engine, "memory_left", lambda: 10)
    monkeypatch.setattr(engine, "_held", lambda pid: 3)
    local = Local(2)
    assert local.room(100)  # the first always starts
    local.children["a"] = child(7)
    assert local.room(6) and not local.room(7)  # four are promised to the other
    local.children["b"] = child(1)
    assert not local.room(0)
    assert engine.memory_left() == 10


GROUPS = {
    2: ("0::/a/b", "", ("memory.max", "memory.current", "inactive_file")),
    1: ("4:cpu:/\n9:memory:/a/b", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
}


@pytest.mark.parametrize("version", GROUPS)
def test_the_memory_of_control_groups_counts_also_that_of_outer_ones(version, tmp_path):
    text, top, (limit, used, cache) = GROUPS[version]
    (tmp_path / "cgroup").write_text(f"{text}\n")
    folder = tmp_path / top / "a"
    (folder / "b").mkdir(parents=True)
    for place, most in ((folder, "5000"), (folder / "b", "max")):
        for name, content in ((limit, most), (used, "3000"), ("memory.stat", f"anon 1\n{cache} 700")):
            (place / name).write_text(f"{content}\n")
    assert engine.memory_left(tmp_path / "cgroup", tmp_path) == 2700
    (folder / limit).write_text("max\n")
    assert engine.memory_left(tmp_path / "cgroup", tmp_path) > 1 << 20
    assert engine.memory_left(tmp_path / "none", tmp_path) > 1 << 20


def test_a_job_that_cannot_be_started_is_lost(monkeypatch):
    def fails(self):
        raise EOFError

    with Local(1) as local:
        monkeypatch.setattr(local._context.Process, "start", fails)
        local.start("job", {})
        assert local.wait() == [("job", {"lost": "no process could be started: EOFError"})]
        assert not local.children


class Forgetful(Local):
    """Loses every worker just before its last word."""

    def wait(self):
        return [(job, {"lost": "gone"} if "end" in message else message) for job, message in super().wait()]


def test_a_worker_that_is_lost_when_all_is_said_costs_nothing(tmp_path):
    suite = Suite(
        datasets=["digits:members=20,nonmembers=40,reference=200"],
        defenses=["vp"],
        attacks=["pia"],
        seeds=[0],
        model="exact",
        controls=False,
        utility={"samples": 100, "evaluations": 2},
    )
    plan = Plan(plan_cells(load(), suite), tmp_path / "records", Store(tmp_path / "store"))
    events = []
    assert execute(plan, plan.cells, Forgetful(1), Work(), events.append) == 0
    assert {state for state, _ in plan.states()} == {"done"}
    assert len([event for event in events if event.kind == "done"]) == len(plan.cells) == 2
