"""What the tables show, against the same figures worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_records import attacked, board_of, cell_facts, metrics, put, sampled, scores

from mibench.leaderboard.board import Board
from mibench.leaderboard.controls import Control, controls
from mibench.leaderboard.summaries import matched, mean_difference, mean_interval
from mibench.metrics.auroc import auroc, auroc_score_interval, null_distance, paired_test, shuffled_auroc
from mibench.results.figures import Estimate

SUITE = """
datasets = ["digits"]
defenses = ["vp", "hold3"]
attacks = ["nn", "loss", "gsa", "lira"]
seeds = [0, 1]
checkpoints = [0.2, 0.5, 0.7]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def test_each_tier_may_use_what_the_ones_before_it_use(folder: Path) -> None:
    attacked(folder, "vp", "nn", 0.6, 0.6, tier="samples")
    attacked(folder, "vp", "loss", 0.8, 0.8)
    attacked(folder, "vp", "gsa", 0.7, 0.7, tier="weights")
    attacked(folder, "vp", "lira", 0.9, 0.9, tier="shadows")
    attacked(folder, "vp", "blind", 0.95, 0.95, tier="data")
    board = board_of(folder)
    assert board.tiers("digits") == ["samples", "network", "weights", "shadows"]
    found = [board.worst("digits", "vp", tier) for tier in board.tiers("digits")]
    assert [(w.attack, w.auroc.mean) for w in found if w] == [("nn", 0.6), ("loss", 0.8), ("loss", 0.8), ("lira", 0.9)]
    assert board.worst("digits", "hold3") is None
    widths = [w.interval[1] - w.interval[0] for w in found if w]
    assert widths[2] > widths[1]  # the same attack, chosen from three and not from two


def test_another_attack_never_lowers_the_worst(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.8, 0.6)
    before = board_of(folder).worst("digits", "vp")
    attacked(folder, "vp", "nn", 0.65, 0.7, tier="samples")
    after = board_of(folder).worst("digits", "vp")
    assert before and after and after.attack == before.attack and after.auroc == before.auroc
    assert after.interval[0] < before.interval[0] < before.interval[1] < after.interval[1]


@pytest.mark.parametrize("attacks", [1, 3])
def test_the_interval_of_one_seed_is_bonferronis(folder: Path, attacks: int) -> None:
    (made,) = attacked(folder, "vp", "loss", 0.8)
    for attack in ("nn", "gsa")[: attacks - 1]:
        attacked(folder, "vp", attack, 0.55)
    worst = board_of(folder).worst("digits", "vp")
    assert worst and worst.attack == "loss"
    assert worst.interval == pytest.approx(auroc_score_interval(*made, level=1 - 0.05 / attacks), abs=1e-12)


def test_the_interval_of_a_mean_shrinks_as_its_root() -> None:
    one = metrics(scores(0.75))
    (low, high), many = mean_interval([one], 0.95), mean_interval([one] * 4, 0.95)
    assert many == pytest.approx((0.75 - (0.75 - low) / 2, 0.75 + (high - 0.75) / 2), abs=1e-12)
    other = metrics(scores(0.9))
    near = 0.75 - low, 0.9 - auroc_score_interval(*scores(0.9))[0]
    assert mean_interval([one, other], 0.95)[0] == pytest.approx(0.825 - math.hypot(*near) / 2, abs=1e-12)


class Drawn:
    """What ``AttackMetrics`` says of binormal scores with this AUROC, those of all who share ``common`` correlated at .6."""

    def __init__(self, rng: np.random.Generator, area: float, sizes: tuple[int, int], common: Any = (0, 0)) -> None:
        share, shift = 0.6 * (common != (0, 0)), math.sqrt(2) * NormalDist().inv_cdf(area)
        own = [
            math.sqrt(share) * z + math.sqrt(1 - share) * rng.normal(size=n) for z, n in zip(common, sizes, strict=True)
        ]
        self.scores = shift + own[0], own[1]
        self.calibrated = SimpleNamespace(auroc=Estimate(value=auroc(*self.scores)))

    def ranked(self) -> Any:
        return self.scores


def coverage(sizes: tuple[int, int], area: float, repetitions: int) -> tuple[float, float]:
    """How often the interval of a mean over three models holds the truth, and that of its difference from an AUROC of .5."""
    rng, held = np.random.default_rng(0), np.zeros(2)
    for _ in range(repetitions):
        low, high = mean_interval([Drawn(rng, area, sizes) for _ in range(3)], 0.95)  # type: ignore[misc]
        common = [[rng.normal(size=n) for n in sizes] for _ in range(3)]
        pairs: Any = [(Drawn(rng, area, sizes, one), Drawn(rng, 0.5, sizes, one)) for one in common]
        found = mean_difference(pairs).interval
        held += low <= area <= high, found[0] <= area - 0.5 <= found[1]
    means, differences = held / repetitions
    return means, differences


@pytest.mark.parametrize("area", [0.5, 0.9, 0.99])
def test_intervals_of_means_and_differences_cover(area: float) -> None:
    """At 95 % at least 93 % of them, but for two standard errors of so few; the slow test is the sharper one."""
    assert min(coverage((80, 320), area, 200)) >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [(80, 320), (160, 160)])
def test_intervals_of_means_and_differences_cover_at_the_sizes_of_the_suites(
    sizes: tuple[int, int], area: float
) -> None:
    """The mean's is conservative from .9 on: Newcombe's method takes the widest variance that the area allows."""
    means, differences = coverage(sizes, area, 2000)
    assert 0.93 <= means <= (0.97 if area < 0.9 else 1) and 0.93 <= differences <= 0.97


def test_the_null_is_the_same_maximum_of_the_same_attacks_on_fresh_data(folder: Path) -> None:
    attacked(folder, "vp", "nn", 0.6, 0.6, tier="samples")
    attacked(folder, "vp", "loss", 0.8, 0.8)
    for attack, areas in {"nn": (0.55, 0.45), "loss": (0.475, 0.5), "gsa": (0.6, 0.6)}.items():
        attacked(folder, "vp", attack, *areas, model="fresh", tier="samples" if attack == "nn" else "network")
    board = board_of(folder)
    nulls = [w.null for tier in board.tiers("digits") if (w := board.worst("digits", "vp", tier))]
    assert nulls == pytest.approx([0.5, 0.5], abs=1e-12)  # nn's; gsa has not met this defense
    attacked(folder, "vp", "loss", 0.55, 0.525, model="fresh")
    board = board_of(folder)
    nulls = [w.null for tier in board.tiers("digits") if (w := board.worst("digits", "vp", tier))]
    assert nulls == pytest.approx([0.5, 0.5375], abs=1e-12)


def test_no_null_without_fresh_data(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.8, 0.8)
    worst = board_of(folder).worst("digits", "vp")
    assert worst and worst.null is None


def test_the_difference_is_delongs_paired_test(folder: Path) -> None:
    (base,) = attacked(folder, "vp", "loss", 0.8)
    (made,) = attacked(folder, "hold3", "lira", 0.7)
    attacked(folder, "hold3", "loss", 0.55)
    attacked(folder, "vp", "lira", 0.6)
    board = board_of(folder)
    found = board.difference("digits", "hold3", "vp")
    mean, interval, _ = paired_test(*made, *base)
    assert found and found.mean == pytest.approx(mean, abs=1e-12) and mean == pytest.approx(-0.1, abs=1e-12)
    assert found.interval == pytest.approx(interval, abs=1e-12)
    assert board.difference("digits", "vp", "vp") is None


def test_a_paired_difference_knows_that_samples_are_the_same(folder: Path) -> None:
    """Two defenses that rank the samples alike differ by next to nothing, however wide the interval of each."""
    made = scores(0.75, seed=4)
    nearly = made[0] + np.eye(len(made[0]))[0] * 4, made[1]
    put(folder, "vp", "loss", 0, attack=metrics(made))
    put(folder, "hold3", "loss", 0, attack=metrics(nearly))
    found = board_of(folder).difference("digits", "hold3", "vp")
    assert found and 0 < found.mean < 1e-3 and found.interval[1] - found.interval[0] < 1e-3


def test_seeds_are_paired_with_themselves(folder: Path) -> None:
    base = attacked(folder, "vp", "loss", 0.8, 0.7)
    made = scores(0.6, seed=9)
    put(folder, "hold3", "loss", 1, attack=metrics(made))
    found = board_of(folder).difference("digits", "hold3", "vp")
    assert found and found.mean == pytest.approx(-0.1, abs=1e-12)
    assert found.interval == pytest.approx(paired_test(*made, *base[1])[1], abs=1e-12)


PATH = [(5, 40.0, 0.5), (10, 20.0, 0.6), (0, 10.0, 0.9)]


@pytest.mark.parametrize(
    ("distance", "area"),
    [(50, 0.5), (40, 0.5), (30, 0.55), (20, 0.6), (15, 0.75), (10, 0.9), (9.9, None)],
    ids=["before the first", "first", "between", "a checkpoint", "late", "the end", "never"],
)
def test_matched(distance: float, area: float | None) -> None:
    assert matched(PATH, distance) == (area if area is None else pytest.approx(area, abs=1e-12))


def test_matched_takes_the_first_time() -> None:
    """A distance that goes up again later does not count, nor does one that comes down a second time."""
    path = [(1, 40.0, 0.5), (2, 20.0, 0.6), (3, 30.0, 0.7), (0, 10.0, 0.9)]
    assert matched(path, 25) == pytest.approx(0.575, abs=1e-12)
    assert matched([], 25) is None


def test_a_path_is_in_the_order_of_training_and_of_the_worst_attack(folder: Path) -> None:
    for step, area, distance in ((7, 0.6, 20.0), (2, 0.55, 30.0), (0, 0.7, 10.0)):
        attacked(folder, "vp", "loss", area, area, checkpoint=step)
        attacked(folder, "vp", "nn", 0.575, 0.575, checkpoint=step, tier="samples")
        sampled(folder, "vp", 0.2, 0.2, distance=distance, checkpoint=step)
    attacked(folder, "vp", "loss", 0.6, 0.6, checkpoint=5)
    board = board_of(folder)
    assert board.checkpoints() == [2, 5, 7, 0]
    assert board.training_curve("digits", "vp") == [(2, 31.0, 0.575), (7, 21.0, 0.6), (0, 11.0, 0.7)]
    assert board.training_curve("digits", "hold3") == []


def test_records_that_were_made_otherwise_are_counted_and_not_shown(folder: Path) -> None:
    """Whatever defense and attack they are of: what the suite asks of recipe, steps, seeds and samples is the same for all."""
    (folder / "suite.toml").write_text(
        f'{SUITE}[recipe.digits]\nsteps = 10\nprecision = "fp32"\naugment = []\n[recipe.other]\nsteps = 7\n'
    )
    attacked(folder, "vp", "loss", 0.6, 0.6, 0.6)
    attacked(folder, "mine", "new", 0.7, checkpoint=5)
    attacked(folder, "mine", "new", 0.7, checkpoint=4)
    labels = {"dataset": "digits", "defense": "mine", "attack": "new"}
    cell = cell_facts(labels, seed=1) | {"recipe": {"steps": 10, "width": 8}}
    put(folder, "mine", "new", 1, cell=cell, attack=metrics(scores(0.7)))
    put(folder, "mine", "newer", 1, cell=cell | {"recipe": {"steps": 11}}, attack=metrics(scores(0.7)))
    how = {"samples": 1000, "evaluations": 50, "method": "multistep", "grid": "quadratic"}
    for name, utility in (("same", how), ("other", how | {"samples": 999})):
        put(folder, name, "utility", 1, cell=cell | {"attack": None, "utility": utility}, status="n/a", reason="why")
    board = board_of(folder)
    assert board.selection.excluded == {
        **{"another seed": 1, "another recipe": 1, "another checkpoint": 1, "another measure of utility": 1}
    }
    assert board.defenses("digits") == ["vp", "hold3", "mine", "same"] and board.checkpoints() == [5, 0]
    assert board.attacks("digits") == ["nn", "loss", "gsa", "lira", "new"]


def shares(control: Control) -> tuple[int, int]:
    return control.significant, control.tested


def fresh(folder: Path, *areas: float) -> Board:
    attacked(folder, "vp", "loss", *areas, model="fresh")
    return board_of(folder)


def test_controls(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.99, 0.97, model="exact")
    attacked(folder, "hold3", "loss", 0.985, model="exact")
    made = attacked(folder, "vp", "loss", 0.55, 0.44, model="fresh")
    control = controls(board_of(folder), "digits")["loss"]
    assert control.exact == pytest.approx(0.98) and control.fresh == pytest.approx(0.44)
    assert control.significant == 0 and control.tested == 2
    mixed = [shuffled_auroc(*one, seed=k) for k, one in enumerate(made)]
    # of ranks, whose order in the pool is that of the scores
    assert control.shuffled == pytest.approx(sum(mixed) / 2, abs=1e-12)


def test_the_family_of_the_nulls_keeps_its_level(folder: Path) -> None:
    """An AUROC that is outside its own 99 % is within that of a family of 20."""
    area = next(k / 400 for k in range(200, 300) if null_distance(*scores(k / 400, seed=len("vploss"))) > 2.576)
    assert shares(controls(fresh(folder, area), "digits")["loss"]) == (1, 1)
    for k in range(19):
        attacked(folder, "vp", f"other{k}", 0.5, model="fresh")
    assert shares(controls(board_of(folder), "digits")["loss"]) == (0, 1)


@pytest.mark.parametrize("area", [0.0, 1.0])
def test_a_perfect_score_on_fresh_data_is_never_within_chance(folder: Path, area: float) -> None:
    """However many controls are looked at together."""
    fresh(folder, area)
    for family in (20, 90):
        for k in range(family):
            attacked(folder, "vp", f"other{k}", 0.5, model="fresh")
        assert shares(controls(board_of(folder), "digits")["loss"]) == (1, 1)
