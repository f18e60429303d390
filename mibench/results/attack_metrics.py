"""From raw scores to what a record says of privacy: a pure function, so that a new metric needs no model."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mibench.components import Attack
from mibench.defenses import Defense
from mibench.metrics.auroc import auroc
from mibench.metrics.scores import ranks
from mibench.metrics.thresholds import balanced_accuracy_threshold
from mibench.results.figures import METRICS, AttackMetrics, Setting, packed
from mibench.results.recompute import setting_figures

__all__ = ["attack_metrics"]

Sides = tuple[NDArray[np.float64], NDArray[np.float64]]


def attack_metrics(
    scores: dict[str, Tensor],
    cuts: dict[str, int],
    attack: Attack,
    defense: Defense,
    digest: str,
    unstable: dict[str, float] | None = None,
) -> AttackMetrics:
    """Metrics from raw scores alone: settings are chosen on the calibration split, figures are of the evaluation split.

    Args:
        scores: ``members/<setting>`` and ``nonmembers/<setting>`` → (B,).
        cuts: how many members and non-members are for calibration; they come first.
        attack: that gave the scores. Where its options leave out its published setting, the first one by name takes its
            place.
        defense: of the model.
        digest: of the stored scores.
        unstable: settings that are left out, see ``AttackMetrics.unstable``.
    """
    unstable = unstable or {}
    settings = sorted({name.removeprefix("members/") for name in scores if name.startswith("members/")} - set(unstable))
    calibration = {s: _sides(scores, s, slice(cuts["members"]), slice(cuts["nonmembers"])) for s in settings}
    evaluation = {s: _sides(scores, s, slice(cuts["members"], None), slice(cuts["nonmembers"], None)) for s in settings}
    areas = {s: (auroc(*calibration[s]), auroc(*evaluation[s])) for s in settings}

    @functools.cache
    def figures(setting: str) -> Setting:
        threshold = balanced_accuracy_threshold(*calibration[setting])
        members, nonmembers = evaluation[setting]
        above = int((members > threshold).sum()), int((nonmembers > threshold).sum())
        return setting_figures(setting, members, nonmembers, above)

    calibrated = max(areas, key=lambda s: areas[s][0])
    order = ranks(*evaluation[calibrated])
    return AttackMetrics(
        settings=areas,
        published=figures(attack.published if attack.published in areas else settings[0]),
        calibrated=figures(calibrated),
        oracle=figures(max(areas, key=lambda s: areas[s][1])),
        ranks=(packed(order[0]), packed(order[1])),
        tier=attack.tier,
        adaptive=defense.meets_adaptively(attack),
        version=METRICS,
        members=len(order[0]),
        nonmembers=len(order[1]),
        scores=digest,
        unstable=unstable,
    )


def _sides(scores: dict[str, Tensor], setting: str, members: slice, nonmembers: slice) -> Sides:
    """A part of the scores of members and of non-members at one setting."""
    return scores[f"members/{setting}"].numpy()[members], scores[f"nonmembers/{setting}"].numpy()[nonmembers]
