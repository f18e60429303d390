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


def test_a_board_knows_its_names_however_the_suite_writes_them(tmp_path, cli):
    """Other order of measures, other figures for the same number, defaults written out; checkpoints of fewer steps, too."""
    (tmp_path / "suite.toml").write_text(
        """
datasets = ["digits:reference=200,members=20,nonmembers=40"]
defenses = ["vp+early:share=0.50+dropout:p=0.10", "vp+dp-sgd:batch=10,epsilon=10"]
attacks = ["loss:draws=016"]
baseline = "vp+dp-sgd:batch=10,epsilon=10"
checkpoints = [0.5]
controls = false
[recipe.digits]
steps = 40
width = 8
depth = 1
[utility]
samples = 100
evaluations = 2
"""
    )
    assert cli("run", tmp_path)[0] == 0
    code, out, err = cli("leaderboard", tmp_path)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert code == 0 and "4 of 4 cells are done" in page and "unlisted" not in out + err + page
    assert "other checkpoint" not in page and "another checkpoint" not in page
    assert "`vp+dropout+early`" in page and "`vp+dp-sgd:epsilon=10.0,batch=10`" in page
