"""The committed boards: what their controls must show."""

from pathlib import Path

import pytest

from mibench.leaderboard.tables import Board, open_board

BOARDS = Path(__file__).parents[2] / "leaderboards"
JUDGED = {name: open_board(BOARDS / name) for name in ("quick", "attacks")}


@pytest.fixture(params=JUDGED)
def board(request: pytest.FixtureRequest) -> Board:
    return JUDGED[request.param]


def test_every_attack_sees_through_the_exact_model_of_digits(board: Board) -> None:
    """At its calibrated setting, on every defense; what needs weights does not apply."""
    controls = board.controls("digits")
    for attack in board.suite.attacks:
        if attack.startswith("gsa"):
            assert controls[attack].exact is None
        else:
            assert controls[attack].exact >= 0.98, attack


def test_nothing_is_found_where_there_is_nothing(board: Board) -> None:
    """Fresh data, and a classifier that never sees a model, at a family-wise 99 %."""
    for dataset in board.datasets():
        controls = board.controls(dataset)
        assert controls["blind"].outside[1] == len(board.suite.seeds)
        assert not [attack for attack, found in controls.items() if found.outside[0]]


def test_every_cell_is_there(board: Board) -> None:
    done, expected = board.progress
    assert done == expected and not board.failed
