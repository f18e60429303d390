"""The figures of a record: privacy, from an attack's scores, and utility, from a model's samples."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mibench.kinds import Tier
from mibench.metrics.one_run import one_run_epsilon
from mibench.results.facts import Strict, optional

__all__ = [
    "CHANGES",
    "METRICS",
    "AttackMetrics",
    "AuditMetrics",
    "Distances",
    "Estimate",
    "Setting",
    "Threshold",
    "UtilityMetrics",
    "audit_bound",
    "packed",
    "unpacked",
]

METRICS = 3
"""The version of the metrics. Raise it when a figure is added or computed otherwise, then run ``mibench upgrade``."""

CHANGES: dict[int, frozenset[str]] = {}
"""Which estimates of a setting ("auroc", "tpr") a version of the metrics computes otherwise than the one before it did.

An upgrade computes all figures of the calibrated setting from its ranks. At another setting only the AUROC and the figures at
the threshold can be computed; the interval of the AUROC and the TPRs are kept unless they are listed here.
"""


class Estimate(Strict):
    """A number with its 95 % interval.

    Attributes:
        value: the number, None where it cannot be computed.
        interval: its lower and upper end, where there is one.
        reason: why there is no value.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str | None = None


class Threshold(Strict):
    """What an attack reaches on the evaluation split at the threshold that is best on the calibration split.

    Attributes:
        accuracy: balanced accuracy, (TPR + TNR) / 2.
        tpr, fpr: the realised rates.
        epsilon: lower bound at 95 % on the ε of any (ε, 0)-differentially private training that leaks as much.
    """

    accuracy: Estimate
    tpr: float
    fpr: float
    epsilon: float


class Setting(Strict):
    """What an attack reaches at one of its settings, on the evaluation split.

    Attributes:
        setting: its name, such as "t=0.1".
        auroc: the probability that a member scores above a non-member, ties counting half.
        tpr: the true positive rate at each false positive rate, such as "0.01".
        fixed: what it reaches at the threshold that was chosen on the calibration split.
    """

    setting: str
    auroc: Estimate
    tpr: dict[str, Estimate]
    fixed: Threshold


class AttackMetrics(Strict):
    """Privacy: what the scores of an attack say.

    Attributes:
        settings: the AUROC of every setting on the calibration and on the evaluation split.
        published: the setting of the paper.
        calibrated: the setting with the largest AUROC on the calibration split: the headline.
        oracle: the setting with the largest AUROC on the evaluation split, chosen on the samples it is reported on.
        ranks: of members and non-members at the calibrated setting, pooled, on the evaluation split; unsigned 16-bit (32-bit
            where there are more) little-endian numbers in base64. They stand for the scores in every rank statistic.
        tier: what the attacker must have, see ``Attack.tier``.
        adaptive: whether the attack was made for this kind of defense.
        version: of the metrics; a record of an older one is upgraded, see ``mibench.results.upgrade``.
        members, nonmembers: how many samples the attack was evaluated on.
        scores: sha256 of the file of raw scores.
        unstable: the settings that are left out, since a change of the samples in their last bit moves their scores past more
            than a hundredth of the other side; each with that share.
    """

    settings: dict[str, tuple[float, float]]
    published: Setting
    calibrated: Setting
    oracle: Setting
    ranks: tuple[str, str]
    tier: Tier
    adaptive: bool
    version: int = METRICS
    members: int
    nonmembers: int
    scores: str
    unstable: dict[str, float] = optional({})

    def ranked(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``ranks`` of members and non-members as arrays, see ``unpacked``."""
        return unpacked(self.ranks[0], self.members), unpacked(self.ranks[1], self.nonmembers)


class AuditMetrics(Strict):
    """What an attack's guesses of which canaries the model was trained on show, from one training run (arXiv 2305.08846).

    A fifth of the canaries is for calibration; the others are evaluated. Of these, a quarter with the largest scores is
    guessed to be trained on, a quarter with the smallest is guessed not to be.

    Attributes:
        setting: the one with the largest AUROC on the calibration canaries.
        auroc: at this setting, of evaluated canaries that were trained on against the others.
        canaries: how many were evaluated.
        guesses: of how many of them it was guessed whether they were trained on.
        correct: how many guesses are right.
        epsilon: lower bound at 95 % on the ε of any (ε, 0)-differentially private training that gives away as much, for adding
            or removing one sample; ``audit_bound`` gives it for several seeds, and where δ is not 0.
        tier: what the attacker must have, see ``Attack.tier``.
        adaptive: whether the audit was made for this kind of defense.
        scores: sha256 of the file of raw scores.
        unstable: the settings that are left out, see ``AttackMetrics``.
    """

    setting: str
    auroc: Estimate
    canaries: int
    guesses: int
    correct: int
    epsilon: float
    tier: Tier
    adaptive: bool
    scores: str
    unstable: dict[str, float] = optional({})


def audit_bound(audits: Iterable[AuditMetrics], delta: float = 0.0, level: float = 0.95) -> float:
    """Lower confidence bound on the ε of (ε, δ)-differential privacy from audits of one training with different seeds.

    A claimed (ε, δ) is refuted at this level if its ε lies below. Each seed has canaries of its own, so that the trainings
    together are private for each canary as one of them is, and their guesses count as those of one run.

    Args:
        audits: of one attack on one defense, a seed each. Of several attacks each needs a level of its own (Bonferroni).
        delta: of the claim.
        level: of confidence.
    """
    counts = [(audit.canaries, audit.guesses, audit.correct) for audit in audits]
    canaries, guesses, correct = (sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0, 0)
    return one_run_epsilon(canaries, guesses, correct, delta, level)


def packed(numbers: NDArray[np.int64]) -> str:
    """Ranks as text, see ``AttackMetrics.ranks``."""
    return base64.b64encode(numbers.astype("<u4" if numbers.max(initial=0) > 65535 else "<u2").tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.int64]:
    """Ranks from their text.

    Raises:
        ValueError: where the text is no base64, or holds another number of ranks than ``count``.
    """
    raw = base64.b64decode(text)
    ranks = np.frombuffer(raw, "<u2" if len(raw) == 2 * count else "<u4").astype(np.int64)
    if len(ranks) != count:
        raise ValueError(f"{len(ranks)} ranks of {count} samples")
    return ranks


class Distances(Strict):
    """Fréchet distances to the reference in one named feature space.

    Attributes:
        space: the name of the feature space.
        distance: of the model's samples.
        copies: of resampled members.
        gauss: of a Gaussian with the members' mean and covariance, clipped to their range.
        null: between two halves of the reference.
        fraction: (distance − copies) / (gauss − copies): 0 for copies of the data, 1 and more for what is no better than a
            Gaussian.
        kid: the kernel distance of the model's samples; None in records from before it was measured.
    """

    space: str
    distance: float
    copies: float
    gauss: float
    null: float
    fraction: float
    kid: float | None = optional()

    @property
    def has_scale(self) -> bool:
        """Whether a Gaussian is farther than copies by more than ``null``; else ``fraction`` says nothing."""
        return self.gauss - self.copies > self.null


class UtilityMetrics(Distances):
    """Utility: distances in the feature space of the data's modality, all with ``n`` samples.

    Attributes:
        n: how many samples of the model were measured.
        reference: how many samples they were compared with.
        inception: the same distances with Inception features, for images where their weights were at hand.
        copied: share of samples nearer to a member than all but 1 % of the reference are.
        members_distance: of the model's samples to the members.
        samples: sha256 of the file of samples.
    """

    n: int
    reference: int
    inception: Distances | None = optional()
    copied: float
    members_distance: float
    samples: str
