"""Comparison of two records of one cell: the same, or close where they need not be the same."""

from __future__ import annotations

from typing import Literal

from mibench.results.facts import Environment
from mibench.results.figures import AttackMetrics, Estimate
from mibench.results.record import Record

__all__ = ["Verdict", "compare"]

Verdict = Literal["same", "agrees", "differs"]

ALIKE = ("device", "chip", "torch", "numpy", "scipy", "scikit_learn", "cpu", "instructions", "blas")
"""What two environments must have in common for their scores to be the same."""

TOLERANCE = 0.1
"""The share by which Fréchet distances of samples may differ where the scores need not be the same."""


def compare(old: Record, new: Record) -> tuple[Verdict, str]:
    """Compare two records of a cell.

    On the same kind of CPU with the same libraries, deterministic and trained in the same way with as many other models, key and
    scores must be the same. Elsewhere, and where a record does not name its CPU, the figures must agree: each rate must lie in
    the other's interval, each AUROC in the inner half of it, and distances of samples within a tenth.

    Returns:
        The verdict, and the reason in words.
    """
    if old.cell != new.cell:
        return "differs", "it is of another cell"
    if (old.status, old.reason) != (new.status, new.reason):
        return "differs", f"it was {_outcome(old)} and is {_outcome(new)}"
    if all(getattr(old, part) == getattr(new, part) for part in ("key", "attack", "audit", "utility")):
        return "same", "same key, same scores" if old.attack or old.audit else "same key"
    if conditions := _other_conditions(old, new):
        close, figures = _close(old, new)
        return ("agrees" if close else "differs"), f"{figures}; {', '.join(conditions)}"
    return "differs", f"other {_what_changed(old, new)} on the same kind of CPU with the same libraries"


def _outcome(record: Record) -> str:
    return f"{record.status} ({record.reason})" if record.reason else record.status


def _other_conditions(old: Record, new: Record) -> list[str]:
    """Why the scores need not be the same."""
    conditions = []
    if old.environment and new.environment:
        conditions += _other_environment(old.environment, new.environment)
    first, second = (record.model.trained_on for record in (old, new))
    if old.cell.model == "trained" and first != second and not conditions:
        conditions.append(f"models trained on {first or 'an unknown CPU'} and on {second or 'an unknown CPU'}")
    versions = [record.model.training for record in (old, new)]
    if versions[0] != versions[1]:
        conditions.append(f"trained by version {versions[0]} and version {versions[1]} of the training's arithmetic")
    together = [(record.model.together or 1) - 1 for record in (old, new)]
    if together[0] != together[1]:
        conditions.append(f"trained with {together[0]} others and with {together[1]}")
    return conditions


def _other_environment(one: Environment, other: Environment) -> list[str]:
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in ALIKE]
    conditions = [
        f"{name} {first} and {second}" for name, first, second in pairs if first and second and first != second
    ]
    if one.cpu is None or other.cpu is None:
        conditions.append("not every record names its CPU")
    if not (one.deterministic and other.deterministic):
        conditions.append("a device that is not deterministic")
    return conditions


def _what_changed(old: Record, new: Record) -> str:
    """The first of what a record is made from, one after the other, that is not the same."""
    if old.model.digest != new.model.digest:
        return "weights"
    return "scores" if _digest(old) != _digest(new) else "figures"


def _digest(record: Record) -> str | None:
    """The digest of the scores or samples."""
    if attacked := record.attack or record.audit:
        return attacked.scores
    return record.utility.samples if record.utility else None


def _close(old: Record, new: Record) -> tuple[bool, str]:
    """Whether the figures agree, and the headline, or the figure that does not agree."""
    if old.attack and new.attack:
        one, other = old.attack.calibrated.auroc, new.attack.calibrated.auroc
        if apart := _apart(old.attack, new.attack):
            return False, apart
        return True, f"AUROC {one.value:.4g} and {other.value:.4g}"
    if old.audit and new.audit:
        one, other = old.audit.auroc, new.audit.auroc
        close = _near(one, other, 0.5) and _near(other, one, 0.5)
        return close, f"audit ε {old.audit.epsilon:.3g} and {new.audit.epsilon:.3g}"
    if old.utility and new.utility:
        first, second = old.utility.distance, new.utility.distance
        allowed = TOLERANCE * max(abs(first), abs(second)) + max(old.utility.null, new.utility.null)
        return abs(first - second) <= allowed, f"FD {first:.4g} and {second:.4g}"
    return True, "no figures"


def _apart(old: AttackMetrics, new: AttackMetrics) -> str:
    """The first figure that does not agree; "" where all do. Settings that rest on rounding are not compared."""
    for choice in ("calibrated", "oracle", "published"):
        one, other = getattr(old, choice), getattr(new, choice)
        if one.setting in new.unstable or other.setting in old.unstable:
            continue
        figures = {"AUROC": (one.auroc, other.auroc, 0.5), "accuracy": (one.fixed.accuracy, other.fixed.accuracy, 1)}
        figures |= {f"TPR@FPR={fpr}": (rate, other.tpr.get(fpr), 1) for fpr, rate in one.tpr.items()}
        for name, (first, second, share) in figures.items():
            if second and not (_near(first, second, share) and _near(second, first, share)):
                return f"{choice} {name} {first.value:.4g} and {second.value:.4g}"
    return ""


def _near(one: Estimate, other: Estimate, share: float) -> bool:
    """Whether a value lies in this share of another's interval, on its side; True where there is none."""
    if one.value is None or other.value is None or other.interval is None:
        return True
    low, high = other.interval
    return share * (low - other.value) <= one.value - other.value <= share * (high - other.value)
