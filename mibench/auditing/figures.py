"""What the records of an audit say together: the split, the worst known attack, the whole set."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mibench.auditing.result import AttackRow, SetLevel
from mibench.metrics.auroc import auroc_score_interval, null_distance
from mibench.metrics.set_level import samples_needed
from mibench.results.figures import AttackMetrics
from mibench.results.record import Record

__all__ = ["attack_row", "set_level", "split_tells", "worst_row"]

SPLIT_LEVEL = 0.01
"""How often the split check of a clean split may find something, over all of its baselines."""


def attack_row(record: Record, metrics: AttackMetrics, count: int) -> AttackRow:
    """The figures of one attack; the interval of its AUROC holds for the largest of ``count`` attacks (Bonferroni)."""
    best = metrics.calibrated
    intervals = [auroc_score_interval(*metrics.ranked(), level=1 - 0.05 / tests) for tests in (1, max(1, count))]
    return AttackRow(
        attack=record.labels["attack"],
        tier=metrics.tier,
        setting=best.setting,
        auroc=best.auroc.value or 0.0,
        interval=intervals[0],
        wide_interval=intervals[1],
        tpr={rate: (tpr.value, tpr.interval) for rate, tpr in best.tpr.items()},
        calibration=metrics.settings[best.setting][0],
        forwards=record.cost.forwards if record.cost else 0.0,
        vjps=record.cost.vjps if record.cost else 0.0,
        seconds=record.seconds,
        key=record.key,
    )


def split_tells(metrics: AttackMetrics, count: int) -> bool:
    """Whether a baseline that never sees the model tells the sides apart, at 1 % over so many baselines."""
    low, high = auroc_score_interval(*metrics.ranked(), level=1 - SPLIT_LEVEL / max(1, count))
    return low > 0.5 or high < 0.5


def worst_row(rows: Sequence[AttackRow]) -> AttackRow:
    """The attack with the largest AUROC on the evaluated samples."""
    return max(rows, key=lambda row: row.auroc)


def set_level(rows: Sequence[AttackRow], found: dict[str, AttackMetrics]) -> SetLevel:
    """Whether the members as a set score higher than the non-members, by the attack that is best on the calibration split.

    The evaluated samples took no part in the choice, so that the p-value (Mann and Whitney's test, one-sided) holds.
    """
    chosen = max(rows, key=lambda row: row.calibration)
    ranks = found[chosen.attack].ranked()
    z = null_distance(*ranks)
    needed, most = samples_needed([ranks])
    return SetLevel(
        attack=chosen.attack, p_value=math.erfc(z / math.sqrt(2)) / 2, files=len(ranks[0]), needed=needed, most=most
    )
