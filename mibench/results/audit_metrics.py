"""From the scores of canaries to what a record says of an audit: a pure function, like ``attack_metrics``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mibench.components import Attack
from mibench.data import calibration_size
from mibench.defenses import Defense
from mibench.metrics.auroc import auroc, auroc_interval
from mibench.metrics.one_run import one_run_epsilon
from mibench.results.figures import AuditMetrics, Estimate

__all__ = ["audit_metrics"]


def audit_metrics(
    scores: dict[str, Tensor],
    included: Tensor,
    attack: Attack,
    defense: Defense,
    digest: str,
    unstable: dict[str, float] | None = None,
) -> AuditMetrics:
    """Metrics from the raw scores of an audit.

    The setting is chosen on the first fifth of the canaries, whose truth is then known; they are not guessed, and the others
    stay independent of them. Of these n, the n // 4 with the largest and the n // 4 with the smallest scores are guessed, of
    equal ones the first drawn, so that the scores alone decide which.

    Args:
        scores: ``members/<setting>`` (I,) of the canaries that were trained on, ``nonmembers/<setting>`` (C − I,) of the others.
        included: (C,) bool, which of the canaries were trained on, in the order in which they were drawn.
        attack: that gave the scores.
        defense: of the model.
        digest: of the stored scores.
        unstable: settings that are left out, see ``AttackMetrics.unstable``.
    """
    unstable, truth = unstable or {}, included.numpy()
    settings = sorted({name.partition("/")[2] for name in scores} - set(unstable))
    drawn = {setting: _as_drawn(scores, setting, truth) for setting in settings}
    cut = calibration_size(included)
    areas = {setting: _auroc(values[:cut], truth[:cut]).value for setting, values in drawn.items()}
    first = attack.published if attack.published in areas else settings[0]
    setting = max([first, *settings], key=lambda name: areas[name] or 0.0)
    values, truth = drawn[setting][cut:], truth[cut:]
    order, side = np.argsort(-values, kind="stable"), len(truth) // 4
    correct = int(truth[order[:side]].sum() + (~truth[order[-side:]]).sum())
    return AuditMetrics(
        setting=setting,
        auroc=_auroc(values, truth),
        canaries=len(truth),
        guesses=2 * side,
        correct=correct,
        epsilon=one_run_epsilon(len(truth), 2 * side, correct),
        tier=attack.tier,
        adaptive=defense.meets_adaptively(attack),
        scores=digest,
        unstable=unstable,
    )


def _as_drawn(scores: dict[str, Tensor], setting: str, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The scores of all canaries at one setting, in the order in which they were drawn."""
    values = np.empty(len(truth))
    values[truth], values[~truth] = (scores[f"{side}/{setting}"].numpy() for side in ("members", "nonmembers"))
    return values


def _auroc(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> Estimate:
    if truth.all() or not truth.any():
        return Estimate(value=None, reason="all of these canaries are on one side")
    sides = values[truth], values[~truth]
    return Estimate(value=auroc(*sides), interval=auroc_interval(*sides))
