"""The Pareto front, on defenses made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import attacked, board_of, metrics, put, sampled, scores

from mibench.leaderboard import markdown
from mibench.leaderboard.choices import choices
from mibench.leaderboard.front import standings
from mibench.leaderboard.summaries import paired_mean

SUITE = """
datasets = ["digits"]
defenses = ["vp", "ve", "hold3"]
attacks = ["loss"]
seeds = [0, 1, 2]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def made(
    folder: Path, defense: str, area: float, distances: tuple[float, ...], fraction: float = 0.2, order: int = 0
) -> None:
    """A defense with this AUROC and these distances, a seed each; in the same order, members rank alike."""
    for seed in range(len(distances)):
        put(folder, defense, "loss", seed, attack=metrics(scores(area, seed=order + seed)))
    sampled(folder, defense, *[fraction] * len(distances), distances=distances)


def dominated(folder: Path) -> dict[str, tuple[str, ...]]:
    return {name: found.dominated_by for name, found in standings(board_of(folder), "digits").items()}


def shown(folder: Path) -> dict[str, str]:
    """What the last column of the main table says of each defense."""
    page = markdown.render(folder, board_of(folder)).partition("## digits")[2].partition("Calibrated AUROC")[0]
    rows = [line.strip("| ").split("|") for line in page.splitlines() if line.startswith("|")]
    assert rows[0][-1].strip() == "dominated by"
    return {row[0].split("`")[1]: row[-1].strip() for row in rows[2:]}


def test_less_leakage_at_the_same_distance_dominates_and_a_trade_does_not(folder: Path) -> None:
    made(folder, "vp", 0.9, (10, 12, 14))
    made(folder, "ve", 0.6, (10, 12, 14))
    made(folder, "hold3", 0.55, (30, 32, 31))
    assert dominated(folder) == {"vp": ("ve",), "ve": (), "hold3": ()}
    assert shown(folder) == {"vp": "`ve`", "ve": "none", "hold3": "none"}


def test_a_smaller_distance_at_the_same_leakage_dominates(folder: Path) -> None:
    """Paired, so that seeds at which both are far do not hide it."""
    made(folder, "vp", 0.8, (10, 20, 30))
    made(folder, "ve", 0.8, (9, 19, 28.9))
    assert dominated(folder) == {"vp": ("ve",), "ve": ()}


def test_equal_figures_do_not_dominate(folder: Path) -> None:
    made(folder, "vp", 0.8, (10, 20, 30))
    made(folder, "ve", 0.8, (10, 20, 30))
    assert dominated(folder) == {"vp": (), "ve": ()}


def test_what_is_not_significant_does_not_dominate(folder: Path) -> None:
    made(folder, "vp", 0.81, (10, 20, 30))
    made(folder, "ve", 0.80, (14, 10, 20), order=9)
    assert dominated(folder) == {"vp": (), "ve": ()}


def test_significant_in_one_and_a_little_worse_in_the_other_does_not_dominate(folder: Path) -> None:
    made(folder, "vp", 0.9, (10, 10, 10))
    made(folder, "ve", 0.6, (10, 10, 10.1))
    assert dominated(folder) == {"vp": (), "ve": ()}


def test_all_comparisons_hold_together(folder: Path) -> None:
    """A difference that is significant beside one defense is not beside three (Bonferroni)."""
    made(folder, "vp", 0.8, (10, 20, 30))
    made(folder, "ve", 0.8, (9, 18.7, 29.3))
    assert dominated(folder)["vp"] == ("ve",)
    made(folder, "hold3", 0.95, (50, 50, 50))
    made(folder, "zero", 0.95, (50, 50, 50))
    assert dominated(folder)["vp"] == () and dominated(folder)["zero"] == ("ve", "vp")


def test_those_that_dominate_are_named_by_what_they_leak(folder: Path) -> None:
    made(folder, "vp", 0.95, (40, 40, 40))
    made(folder, "ve", 0.7, (10, 10, 10))
    made(folder, "hold3", 0.55, (20, 20, 20))
    assert shown(folder) == {"vp": "`hold3` and 1 more", "ve": "none", "hold3": "none"}


def test_without_a_distance_there_is_no_place(folder: Path) -> None:
    made(folder, "vp", 0.9, (10, 12, 14))
    made(folder, "ve", 0.6, (10, 12, 14))
    attacked(folder, "hold3", "loss", 0.5, 0.5, 0.5)
    assert dominated(folder) == {"vp": ("ve",), "ve": ()} and shown(folder)["hold3"] == "–"


def test_a_defense_that_an_attack_was_not_run_on_is_not_compared(folder: Path) -> None:
    """Leaving out the strongest attack must not make a row look better."""
    (folder / "suite.toml").write_text(SUITE.replace('["loss"]', '["loss", "pia"]'))
    for defense in ("vp", "ve", "hold3"):
        made(folder, defense, 0.6, (10, 12, 14))
    for seed in range(3):
        put(folder, "vp", "pia", seed, attack=metrics(scores(0.9, seed=seed)))
        put(folder, "hold3", "pia", seed, attack=None, status="n/a", reason="it has no such time")
    board = board_of(folder)
    worst = board.worst("digits", "ve")
    assert worst and worst.unrun == ("pia",) and "ve" not in standings(board, "digits")
    assert board.difference("digits", "ve", "vp") is None and board.difference("digits", "hold3", "vp")
    assert "Without a result here: pia. It may leak more" in markdown.render(folder, board)
    assert [(row.defense, row.difference is None) for row in choices(board, "digits")][1:] == [
        ("hold3", False),
        ("ve", True),
    ]


def test_one_seed_is_too_few(folder: Path) -> None:
    made(folder, "vp", 0.9, (10,))
    made(folder, "ve", 0.6, (5,))
    assert dominated(folder) == {"vp": (), "ve": ()}
    assert set(shown(folder).values()) == {"–", "n/a[^1]"}
    assert "[^1]: Defenses can be compared where they have two seeds" in markdown.render(folder, board_of(folder))


def test_a_defense_that_lacks_seeds_is_not_on_the_front(folder: Path) -> None:
    """It may be dominated by the others, which can be compared with each other."""
    made(folder, "vp", 0.9, (10, 12, 14))
    made(folder, "ve", 0.6, (10, 12, 14))
    made(folder, "hold3", 0.55, (30,))
    assert shown(folder) == {"vp": "`ve`", "ve": "n/a[^1]", "hold3": "n/a[^1]"}


def test_a_defense_that_hardly_generates_is_marked(folder: Path) -> None:
    made(folder, "vp", 0.9, (10, 12, 14))
    made(folder, "ve", 0.5, (90, 90, 90), fraction=0.9)
    assert shown(folder) == {"vp": "none", "ve": "none, fraction > .5", "hold3": "–"}


def test_one_defense_alone_has_no_such_column(folder: Path) -> None:
    made(folder, "vp", 0.9, (10, 12, 14))
    assert "dominated" not in markdown.render(folder, board_of(folder))


def test_the_interval_of_paired_differences_is_students() -> None:
    found = paired_mean([1.0, 2.0, 3.0], 0.95)
    half_width = 4.302652730 / 3**0.5  # the quantile at 97.5 % with two degrees of freedom; the sd is 1
    assert found.mean == 2 and found.interval == pytest.approx((2 - half_width, 2 + half_width), abs=1e-8)
    assert paired_mean([1.5, 1.5], 0.95).interval == (1.5, 1.5)
