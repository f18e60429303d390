"""Two records of one cell: whether they say the same."""

from __future__ import annotations

from typing import Literal

from mibench.results.facts import Environment
from mibench.results.record import Record

__all__ = ["Verdict", "compare"]

Verdict = Literal["same", "agrees", "differs"]

ALIKE = ("device", "chip", "torch", "numpy", "scipy", "scikit-learn")
"""What must be the same of two environments for their scores to be the same."""

TOLERANCE = 0.1
"""The share by which Fréchet distances of samples may differ where the scores cannot be the same."""


def compare(old: Record, new: Record) -> tuple[Verdict, str]:
    """What a second record of a cell says of the first.

    On the same device type and library versions, deterministic and trained in the same company, key and scores must be the
    same. Elsewhere each AUROC must lie in the other's interval, or the distance of the samples within a tenth.

    Returns:
        The verdict, and in words what it rests on.
    """
    if old.cell != new.cell:
        return "differs", "it is of another cell"
    if (old.status, old.reason) != (new.status, new.reason):
        return "differs", f"it was {_outcome(old)}, and is {_outcome(new)}"
    if (old.key, old.attack, old.utility) == (new.key, new.attack, new.utility):
        return "same", "same key, same scores" if old.attack else "same key"
    apart = _other_conditions(old.environment, new.environment) if old.environment and new.environment else []
    company = [record.model.together or 1 for record in (old, new)]
    if company[0] != company[1]:
        apart.append(f"trained with {company[0] - 1} others and with {company[1] - 1}")
    if not apart:
        what = "weights" if old.model.digest != new.model.digest else "scores"
        what = "figures" if what == "scores" and _scored(old) == _scored(new) else what
        return "differs", f"its {what} are others, on the same device type and library versions"
    close, figures = _close(old, new)
    return ("agrees" if close else "differs"), f"{figures}; {', '.join(apart)}"


def _other_conditions(old: Environment, new: Environment) -> list[str]:
    """Why the scores need not be the same."""
    one, other = old.model_dump(), new.model_dump()
    apart = [f"{name} {one[name]} and {other[name]}" for name in ALIKE if one[name] != other[name]]
    return apart if old.deterministic and new.deterministic else [*apart, "a device that is not deterministic"]


def _outcome(record: Record) -> str:
    return f"{record.status} ({record.reason})" if record.reason else record.status


def _scored(record: Record) -> str | None:
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
        room = TOLERANCE * max(abs(first), abs(second)) + max(old.utility.null, new.utility.null)
        return abs(first - second) <= room, f"FD {first:.4g} and {second:.4g}"
    return True, "no figures"
