"""Comparison of two records of one cell: the same, or close where they need not be the same."""

from __future__ import annotations

from typing import Literal

from mibench.results.record import Record

__all__ = ["Verdict", "compare"]

Verdict = Literal["same", "agrees", "differs"]

ALIKE = ("device", "chip", "torch", "numpy", "scipy", "scikit_learn")
"""What two environments must have in common for their scores to be the same."""

TOLERANCE = 0.1
"""The share by which Fréchet distances of samples may differ where the scores need not be the same."""


def compare(old: Record, new: Record) -> tuple[Verdict, str]:
    """Compare two records of a cell.

    On the same device type and library versions, deterministic and trained with as many other models, key and scores must be
    the same. Elsewhere each AUROC must lie in the other's interval, or the distances of the samples within a tenth.

    Returns:
        The verdict, and the reason in words.
    """
    if old.cell != new.cell:
        return "differs", "it is of another cell"
    if (old.status, old.reason) != (new.status, new.reason):
        return "differs", f"it was {_outcome(old)} and is {_outcome(new)}"
    if (old.key, old.attack, old.utility) == (new.key, new.attack, new.utility):
        return "same", "same key, same scores" if old.attack else "same key"
    if conditions := _other_conditions(old, new):
        close, figures = _close(old, new)
        return ("agrees" if close else "differs"), f"{figures}; {', '.join(conditions)}"
    return "differs", f"other {_what_changed(old, new)} on the same device type and library versions"


def _outcome(record: Record) -> str:
    return f"{record.status} ({record.reason})" if record.reason else record.status


def _other_conditions(old: Record, new: Record) -> list[str]:
    """Why the scores need not be the same."""
    one, other = old.environment, new.environment
    conditions = []
    if one and other:
        pairs = [(name, getattr(one, name), getattr(other, name)) for name in ALIKE]
        conditions += [f"{name} {first} and {second}" for name, first, second in pairs if first != second]
        if not (one.deterministic and other.deterministic):
            conditions.append("a device that is not deterministic")
    first, second = (record.model.together or 1 for record in (old, new))
    if first != second:
        conditions.append(f"trained with {first - 1} others and with {second - 1}")
    return conditions


def _what_changed(old: Record, new: Record) -> str:
    """The first of what a record is made from, one after the other, that is not the same."""
    if old.model.digest != new.model.digest:
        return "weights"
    return "scores" if _digest(old) != _digest(new) else "figures"


def _digest(record: Record) -> str | None:
    """The digest of the scores or samples."""
    if record.attack:
        return record.attack.scores
    return record.utility.samples if record.utility else None


def _close(old: Record, new: Record) -> tuple[bool, str]:
    """Whether the figures agree, and the figures."""
    if old.attack and new.attack:
        one, other = old.attack.calibrated.auroc, new.attack.calibrated.auroc
        spans = [(a.value, b.interval) for a, b in ((one, other), (other, one))]
        inside = all(v is not None and span is not None and span[0] <= v <= span[1] for v, span in spans)
        return inside, f"AUROC {one.value:.4g} and {other.value:.4g}"
    if old.utility and new.utility:
        first, second = old.utility.distance, new.utility.distance
        allowed = TOLERANCE * max(abs(first), abs(second)) + max(old.utility.null, new.utility.null)
        return abs(first - second) <= allowed, f"FD {first:.4g} and {second:.4g}"
    return True, "no figures"
