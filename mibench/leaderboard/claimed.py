"""What defenses claim of their training beside what attacks show: the claimed (ε, δ), and a lower bound on ε at this δ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mibench.leaderboard.board import TIERS, Board
from mibench.metrics.thresholds import epsilon_lower_bound
from mibench.results.figures import AttackMetrics, AuditMetrics, audit_bound
from mibench.results.recompute import counts_above

if TYPE_CHECKING:
    from mibench.claims import Claim

__all__ = ["Claimed", "Shown", "claims"]

Counts = tuple[int, int, int, int]
"""Members above the threshold, of how many; and non-members above it, of how many."""

Guesses = tuple[int, int]
"""How many guesses of an audit are right, and how many there are."""


@dataclass(frozen=True)
class Shown:
    """What an attack shows of a defense.

    Attributes:
        attack: its label.
        epsilon: a lower bound on ε at the δ that the defense claims.
        counts: that it follows from, over all seeds.
    """

    attack: str
    epsilon: float
    counts: Counts | Guesses

    @property
    def evidence(self) -> str:
        """The counts in words."""
        if len(self.counts) == 2:
            return "{} of {} guesses of which canaries were trained on are right".format(*self.counts)
        return "above its threshold are {} of {} members and {} of {} non-members".format(*self.counts)


@dataclass(frozen=True)
class Claimed:
    """What a defense claims on a dataset, and what is shown.

    Attributes:
        claim: of the model that claims least.
        members: how many samples a model was trained on.
        shown: the largest bound; None without an ε to compare it with, and without an attack.
    """

    claim: Claim
    members: int
    shown: Shown | None

    @property
    def broken(self) -> bool:
        """Whether more is shown than is claimed."""
        return bool(self.shown and self.claim.epsilon is not None and self.shown.epsilon > self.claim.epsilon)


def claims(board: Board) -> dict[tuple[str, str], Claimed]:
    """What is claimed and shown, by dataset and defense; defenses that have no claim in their records are left out.

    The bounds of all attacks and audits on all that claim an ε hold at 95 % together (Bonferroni): of the boards on which every
    claim is true, at most 5 in 100 call one broken.
    """
    made = {
        (dataset, defense): records
        for dataset in board.datasets()
        for defense in board.defenses(dataset)
        if (records := [r for r in board.all_of("record", dataset, defense) if r.model.claim])
    }
    least = {pair: max((r.model.claim for r in records), key=_size) for pair, records in made.items()}
    claimed = [pair for pair, claim in least.items() if claim.epsilon is not None]
    counts = {pair: _counts(board, *pair) for pair in claimed}
    audits = {pair: _audits(board, *pair) for pair in claimed}
    looks = sum(len(counts[pair]) + len(audits[pair]) for pair in claimed)

    def shown(pair: tuple[str, str], delta: float) -> list[Shown]:
        level = 1 - 0.05 / max(1, looks)
        found = [_shown(*one, delta, level) for one in counts.get(pair, {}).items()]
        return found + [_shown_by_audit(*one, delta, level) for one in audits.get(pair, {}).items()]

    return {
        pair: Claimed(
            claim,
            min(r.split.members for r in made[pair]),
            max(shown(pair, claim.delta), key=_bound, default=None),
        )
        for pair, claim in least.items()
    }


def _size(claim: Claim) -> float:
    return math.inf if claim.epsilon is None else claim.epsilon


def _bound(shown: Shown) -> float:
    return shown.epsilon


def _counts(board: Board, dataset: str, defense: str) -> dict[str, Counts]:
    """The counts of each attack over all seeds; those that look at the data alone show nothing of a model."""
    metrics = {attack: list(board.metrics(dataset, defense, attack).values()) for attack in board.attacks(dataset)}
    return {attack: _pooled(found) for attack, found in metrics.items() if found and found[0].tier in TIERS}


def _audits(board: Board, dataset: str, defense: str) -> dict[str, list[AuditMetrics]]:
    """What each audit has found on all seeds."""
    found = {attack: list(board.audited(dataset, defense, attack).values()) for attack in board.audits(dataset)}
    return {attack: audits for attack, audits in found.items() if audits}


def _pooled(metrics: list[AttackMetrics]) -> Counts:
    """The counts at the calibrated thresholds of all seeds."""
    above = [counts_above(m.calibrated.fixed.tpr, m.calibrated.fixed.fpr, m.members, m.nonmembers) for m in metrics]
    hits, alarms = (sum(side) for side in zip(*above, strict=True))
    return hits, sum(m.members for m in metrics), alarms, sum(m.nonmembers for m in metrics)


def _shown(attack: str, counts: Counts, delta: float, level: float) -> Shown:
    hits, m, alarms, n = counts
    sides = np.arange(m) < hits, np.arange(n) < alarms  # any scores with these counts above .5
    return Shown(attack, epsilon_lower_bound(*sides, 0.5, delta, level, exchanged=True), counts)


def _shown_by_audit(attack: str, audits: list[AuditMetrics], delta: float, level: float) -> Shown:
    counts = sum(audit.correct for audit in audits), sum(audit.guesses for audit in audits)
    return Shown(attack, audit_bound(audits, delta, level), counts)
