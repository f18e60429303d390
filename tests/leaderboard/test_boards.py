"""The committed boards: what their controls must show."""

from pathlib import Path

import pytest

from mibench.leaderboard.board import Board, open_board
from mibench.leaderboard.controls import controls
from mibench.plugins import load
from mibench.results.known import Known

BOARDS = Path(__file__).parents[2] / "leaderboards"
REGISTERED = Known.of(load())
JUDGED = {name: open_board(BOARDS / name, REGISTERED) for name in ("quick", "attacks")}


@pytest.fixture(params=JUDGED)
def board(request: pytest.FixtureRequest) -> Board:
    return JUDGED[request.param]


def test_every_attack_sees_through_the_exact_model_of_digits(board: Board) -> None:
    """At its calibrated setting, on every defense; what needs weights does not apply."""
    found = controls(board, "digits")
    for attack in board.suite.attacks:
        if attack.startswith("gsa"):
            assert found[attack].exact is None
        else:
            assert found[attack].exact >= 0.98, attack


def test_nothing_is_found_where_there_is_nothing(board: Board) -> None:
    """Fresh data, and a classifier that never sees a model, at a family-wise 99 %."""
    for dataset in board.datasets():
        found = controls(board, dataset)
        assert found["blind"].tested == len(board.suite.seeds)
        assert not [attack for attack, control in found.items() if control.significant]


def test_every_cell_is_there(board: Board) -> None:
    done, expected = board.progress
    assert done == expected and not board.count("failed")
