"""What is retried and what fails: the policy without a process."""

import pytest
from benches import cell

from mibench.jobs.job import LIVES, Job
from mibench.jobs.messages import Ended, Failed, Lost
from mibench.jobs.policy import Failure, after_end, after_failure

CELLS = [cell("pia"), cell("loss"), cell("secmi")]
CRASH, MEMORY, KILLED, GONE = (
    Ended(error="crash"),
    Ended(error="full", out_of_memory=True),
    Ended(error="killed", killed=True),
    Lost(reason="gone"),
)
SHADOWS = [cell(model="trained", seed=seed) for seed in (0, 0, 1)]


def job(cells=CELLS, **more):
    kind = "models" if cells is SHADOWS else "measure"
    return Job(kind, cells, **more)


def decided(decisions, cells=CELLS):
    """Decisions as ("fails", indices, reason) and ("again", indices, alone, lives)."""
    places = {id(one): index for index, one in enumerate(cells)}
    return [
        ("fails", [places[id(one.cell)]], one.reason)
        if isinstance(one, Failure)
        else ("again", [places[id(part)] for part in one.job.cells], one.job.alone, one.job.lives)
        for one in decisions
    ]


CASES = {
    "nothing is left": (CRASH, {}, [], []),
    "lost": (GONE, {}, [0, 1], [("again", [0, 1], False, LIVES - 1)]),
    "lost for the last time": (
        GONE,
        {"lives": 1},
        [0, 1],
        [("again", [0], False, LIVES), ("again", [1], False, LIVES)],
    ),
    "lost for the last time, alone": (
        GONE,
        {"lives": 1},
        [2],
        [("fails", [2], f"its worker was lost {LIVES} times: gone")],
    ),
    "a crash": (CRASH, {"current": 1}, [1, 2], [("fails", [1], "crash"), ("again", [2], False, LIVES)]),
    "a crash before the first cell": (CRASH, {}, [0, 1], [("fails", [0], "crash"), ("fails", [1], "crash")]),
    "a crash between cells": (CRASH, {"current": 0}, [1, 2], [("again", [1, 2], False, LIVES)]),
    "no reason": (Ended(), {"current": 2}, [2], [("fails", [2], "the worker ended without a result")]),
    "memory": (MEMORY, {"current": 1}, [1, 2], [("again", [1], True, LIVES), ("again", [2], False, LIVES)]),
    "memory, alone": (MEMORY, {"current": 1, "alone": True}, [1], [("fails", [1], "full")]),
    "killed": (KILLED, {"current": 0}, [0, 2], [("again", [0], False, LIVES - 1), ("again", [2], False, LIVES)]),
    "killed for the last time": (KILLED, {"current": 0, "lives": 1}, [0], [("fails", [0], "killed")]),
    "killed between cells": (KILLED, {"current": 0}, [1], [("again", [1], False, LIVES)]),
}


@pytest.mark.parametrize("case", CASES)
def test_cells(case):
    end, state, left, expected = CASES[case]
    assert decided(after_end(job(**state), end, [CELLS[index] for index in left])) == expected


APART = [("again", [0, 1], False, LIVES), ("again", [2], False, LIVES)]  # each training in a job of its own
MODEL_CASES = {
    "a crash": (CRASH, {}, APART),
    "memory": (MEMORY, {}, APART),
    "killed": (KILLED, {}, [("again", [0, 1, 2], False, LIVES - 1)]),
    "killed for the last time": (KILLED, {"lives": 1}, APART),
    "lost for the last time": (GONE, {"lives": 1}, APART),
}


@pytest.mark.parametrize("case", MODEL_CASES)
def test_models(case):
    end, state, expected = MODEL_CASES[case]
    assert decided(after_end(job(SHADOWS, **state), end, SHADOWS), SHADOWS) == expected


def test_one_training_is_not_divided_further():
    one = SHADOWS[2:]
    assert decided(after_end(Job("models", one), MEMORY, one), one) == [("again", [0], True, LIVES)]
    assert decided(after_end(Job("models", one), CRASH, one), one) == [("fails", [0], "crash")]
    lost = [("fails", [0], f"its worker was lost {LIVES} times: gone")]
    assert decided(after_end(Job("models", one, lives=1), GONE, one), one) == lost


def test_a_cell_that_fails_by_itself():
    failed, full = Failed(cell_index=1, reason="why"), Failed(cell_index=1, reason="full", out_of_memory=True)
    assert decided(after_failure(job(), CELLS[1], failed)) == [("fails", [1], "why")]
    assert decided(after_failure(job(), CELLS[1], full)) == [("again", [1], True, LIVES)]
    assert decided(after_failure(job(alone=True), CELLS[1], full)) == [("fails", [1], "full")]
