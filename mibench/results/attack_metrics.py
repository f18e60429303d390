"""From raw scores to what a record says of privacy: a pure function, so that a new metric needs no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mibench.components import Attack
from mibench.defenses import Defense
from mibench.metrics.membership import (
    at_threshold,
    auroc,
    auroc_interval,
    balanced_accuracy_interval,
    balanced_accuracy_threshold,
    epsilon_lower_bound,
    ranks,
    tpr_at_fpr,
    tpr_interval,
)
from mibench.results.figures import AttackMetrics, Estimate, Setting, Threshold, packed

__all__ = ["attack_metrics"]

FPRS = (0.1, 0.01, 0.001)


def attack_metrics(
    scores: dict[str, Tensor], cuts: dict[str, int], attack: Attack, defense: Defense, digest: str
) -> AttackMetrics:
    """Metrics from raw scores alone: settings are chosen on the calibration split, numbers are from the evaluation split.

    Args:
        scores: ``members/<setting>`` and ``nonmembers/<setting>`` → (B,).
        cuts: how many of each are for calibration; they come first.
        attack: whose scores they are. Where its options leave out its published setting, its first one stands for that.
        defense: that it met.
        digest: of the stored scores.
    """
    settings = sorted(name.removeprefix("members/") for name in scores if name.startswith("members/"))
    arrays = {name: value.numpy() for name, value in scores.items()}

    def parts(setting: str, calibrating: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sides = [(arrays[f"{side}/{setting}"], cuts[side]) for side in ("members", "nonmembers")]
        first, second = (a[:cut] if calibrating else a[cut:] for a, cut in sides)
        return first, second

    both = {s: (auroc(*parts(s, True)), auroc(*parts(s, False))) for s in settings}

    def full(setting: str) -> Setting:
        members, nonmembers = parts(setting, False)
        rates = {}
        for fpr in FPRS:
            value = tpr_at_fpr(members, nonmembers, fpr)
            if value is None:
                reason = f"{len(nonmembers)} non-members; {round(10 / fpr)} are needed"
                rates[f"{fpr:g}"] = Estimate(value=None, reason=reason)
            else:
                rates[f"{fpr:g}"] = Estimate(value=value, interval=tpr_interval(members, nonmembers, fpr))
        area = Estimate(value=both[setting][1], interval=auroc_interval(members, nonmembers))
        fixed = balanced_accuracy_threshold(*parts(setting, True))
        tpr, fpr = at_threshold(members, nonmembers, fixed)
        accuracy = Estimate(value=(1 + tpr - fpr) / 2, interval=balanced_accuracy_interval(members, nonmembers, fixed))
        leak = epsilon_lower_bound(members, nonmembers, fixed)
        return Setting(
            setting=setting, auroc=area, tpr=rates, fixed=Threshold(accuracy=accuracy, tpr=tpr, fpr=fpr, epsilon=leak)
        )

    made = {name: len(arrays[f"{name}/{settings[0]}"]) - cuts[name] for name in cuts}
    chosen = max(both, key=lambda s: both[s][0])
    order = ranks(*parts(chosen, False))
    return AttackMetrics(
        settings=both,
        published=full(attack.published if attack.published in both else settings[0]),
        calibrated=full(chosen),
        oracle=full(max(both, key=lambda s: both[s][1])),
        ranks=(packed(order[0]), packed(order[1])),
        tier=attack.tier,
        adaptive=defense.meets_adaptively(attack),
        scores=digest,
        **made,
    )
