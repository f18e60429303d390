"""Controls: what attacks reach where the right answer is known."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from mibench.leaderboard.board import Board
from mibench.metrics.auroc import null_distance, shuffled_auroc
from mibench.results.figures import AttackMetrics

__all__ = ["Control", "blind_attacks", "controls"]


@dataclass(frozen=True)
class Control:
    """What an attack reaches where the right answer is known.

    Attributes:
        exact: the least AUROC over defenses on the exact model of the members, at its calibrated setting; near 1 is right.
        fresh: the AUROC on fresh data that is farthest from .5 over defenses and seeds; near .5 is right.
        significant: how many of the AUROCs on fresh data differ from .5, at a family-wise 1 % for all of the dataset.
        tested: how many AUROCs on fresh data there are.
        shuffled: mean AUROC with the labels of the stored scores shuffled, over defenses and seeds.
    """

    exact: float | None
    fresh: float | None
    significant: int
    tested: int
    shuffled: float | None


def controls(board: Board, dataset: str) -> dict[str, Control]:
    """The controls of each attack for which any was run."""
    exact, fresh = board.at("exact"), board.at("fresh")
    run = {attack for view in (exact, fresh) for of, _, attack in view.outcomes if of == dataset}
    run.difference_update(board.audits(dataset))
    names = [*board.attacks(dataset), *sorted(run.difference(board.attacks(dataset)))]
    nulls = {attack: _on_fresh_data(board, dataset, attack) for attack in names}
    family = sum(map(len, nulls.values()))
    limit = statistics.NormalDist().inv_cdf(1 - 0.01 / family / 2) if family else math.inf
    found = {}
    for attack in names:
        if attack not in run and not nulls[attack]:
            continue
        areas = [exact.spread("calibrated_auroc", dataset, defense, attack) for defense in exact.defenses(dataset)]
        values = [m.calibrated.auroc.value for m in nulls[attack] if m.calibrated.auroc.value is not None]
        shuffled = [shuffled_auroc(*m.ranked(), seed=k) for k, m in enumerate(nulls[attack])]
        found[attack] = Control(
            exact=min((area.mean for area in areas if area), default=None),
            fresh=max(values, key=lambda value: abs(value - 0.5), default=None),
            significant=sum(abs(null_distance(*m.ranked())) > limit for m in nulls[attack]),
            tested=len(nulls[attack]),
            shuffled=statistics.fmean(shuffled) if shuffled else None,
        )
    return found


def _on_fresh_data(board: Board, dataset: str, attack: str) -> list[AttackMetrics]:
    """An attack's metrics on fresh data.

    A blind attack sees no model: where it was not run on fresh data, its metrics on other models are taken, one for each seed.
    """
    fresh = board.at("fresh")
    found = [m for defense in fresh.defenses(dataset) for m in fresh.metrics(dataset, defense, attack).values()]
    if found:
        return found
    anywhere = [board.metrics(dataset, defense, attack) for defense in board.defenses(dataset)]
    return list({seed: m for by_seed in anywhere for seed, m in by_seed.items() if m.tier == "data"}.values())


def blind_attacks(board: Board, dataset: str) -> set[str]:
    """The attacks that never look at a model."""
    tiers = [board.values("tier"), board.at("fresh").values("tier")]
    return {attack for view in tiers for (of, _, attack), found in view.items() if of == dataset and found[0] == "data"}
