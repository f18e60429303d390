"""From raw scores to what a record says of privacy: a pure function, so that a new metric needs no model."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mibench.harness.records import AttackMetrics, Estimate, Setting, Threshold
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

__all__ = ["attack_metrics", "unpacked"]

FPRS = (0.1, 0.01, 0.001)


def attack_metrics(scores: dict[str, Tensor], cuts: dict[str, int], published: str, digest: str) -> AttackMetrics:
    """Metrics from raw scores alone: settings are chosen on the calibration split, numbers are from the evaluation split.

    Args:
        scores: ``members/<setting>`` and ``nonmembers/<setting>`` → (B,).
        cuts: how many of each are for calibration; they come first.
        published: the setting of the paper; where the attack was given other options, its first setting instead.
        digest: of the stored scores.
    """
    settings = [name.removeprefix("members/") for name in scores if name.startswith("members/")]
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
    return AttackMetrics(
        settings=both,
        published=full(published if published in both else settings[0]),
        calibrated=full(chosen),
        oracle=full(max(both, key=lambda s: both[s][1])),
        ranks=tuple(_packed(r) for r in ranks(*parts(chosen, False))),  # type: ignore[arg-type]
        scores=digest,
        **made,
    )


def _packed(numbers: NDArray[np.int64]) -> str:
    return base64.b64encode(numbers.astype("<u4" if numbers.max(initial=0) > 65535 else "<u2").tobytes()).decode()


def unpacked(metrics: AttackMetrics) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ranks of members and non-members at the calibrated setting: they stand for the scores in every rank statistic."""
    counts = (metrics.members, metrics.nonmembers)
    raw = [base64.b64decode(text) for text in metrics.ranks]
    members, nonmembers = (
        np.frombuffer(part, "<u2" if len(part) == 2 * count else "<u4").astype(np.int64)
        for part, count in zip(raw, counts, strict=True)
    )
    return members, nonmembers
