"""The Pareto front of a dataset: which defenses no other one beats in privacy and utility, with intervals.

Privacy is the worst known AUROC, utility the Fréchet distance (FD) of the samples; smaller is better in both. One defense
dominates another where neither of its two means is larger and one of the two is significantly smaller. Since both means must
agree, no circle of defenses dominate each other, and there always is one that none dominates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mibench.kinds import Tier
from mibench.leaderboard.board import TIERS, Board
from mibench.leaderboard.summaries import paired_mean

__all__ = ["Standing", "standings"]

SEEDS = 2
"""So many seeds must two defenses have in common to be compared."""

NEARER_A_GAUSSIAN = 0.5
"""Samples with a larger fraction are nearer to a Gaussian's distance than to that of copies of the members."""


@dataclass(frozen=True)
class Standing:
    """Where a defense stands among those that have both figures.

    Attributes:
        auroc, distance: the means over its seeds.
        dominated_by: the defenses that dominate it, that with the smallest AUROC first.
        comparable: whether it has enough seeds in common with each of the others.
        generates: whether its mean fraction is at most .5; True where it has none.
    """

    auroc: float
    distance: float
    dominated_by: tuple[str, ...]
    comparable: bool
    generates: bool

    @property
    def on_front(self) -> bool:
        """Whether it can be compared with each of the others and none dominates it."""
        return self.comparable and not self.dominated_by


def standings(board: Board, dataset: str, tier: Tier = TIERS[-1]) -> dict[str, Standing]:
    """The defenses that have both figures on a dataset, in the board's order, for an attacker with this access.

    Those on which an attack that was run on others was not are left out: nobody knows how much they leak under it.
    """
    means = {
        defense: (worst.auroc.mean, spread.mean)
        for defense in board.defenses(dataset)
        if (worst := board.worst(dataset, defense, tier)) and not worst.unrun
        if (spread := board.spread("fd", dataset, defense))
    }
    # two intervals are looked at for each other defense, and one end of each: 95 % for all of them together (Bonferroni)
    level = 1 - 0.05 / max(1, len(means) - 1)
    found = {}
    for defense, (area, distance) in means.items():
        others = sorted(means.keys() - {defense}, key=lambda other: (*means[other], other))
        no_worse = [o for o in others if means[o][0] <= area and means[o][1] <= distance]
        fraction = board.spread("fraction", dataset, defense)
        found[defense] = Standing(
            area,
            distance,
            tuple(filter(partial(_is_better, board, dataset, tier, level, defense), no_worse)),
            all(len(_common(board, dataset, tier, defense, other)) >= SEEDS for other in others),
            not fraction or fraction.mean <= NEARER_A_GAUSSIAN,
        )
    return found


def _is_better(board: Board, dataset: str, tier: Tier, level: float, defense: str, other: str) -> bool:
    """Whether another defense is significantly better than one in either figure."""
    changes = _common(board, dataset, tier, defense, other)
    if len(changes) < SEEDS:
        return False
    less = board.difference(dataset, other, defense, level, tier)
    return paired_mean(changes, level).interval[1] < 0 or (less is not None and less.interval[1] < 0)


def _common(board: Board, dataset: str, tier: Tier, defense: str, other: str) -> list[float]:
    """How much smaller the FD of another defense is at each seed at which both have both figures."""
    ours, its = (_distances(board, dataset, tier, name) for name in (defense, other))
    return [its[seed] - ours[seed] for seed in ours if seed in its]


def _distances(board: Board, dataset: str, tier: Tier, defense: str) -> dict[int, float]:
    """The FD of each seed at which a defense has that and its worst known AUROC."""
    worst = board.worst(dataset, defense, tier)
    attacked = board.metrics(dataset, defense, worst.attack) if worst else {}
    return {seed: distance for seed, distance in board.distances(dataset, defense).items() if seed in attacked}
