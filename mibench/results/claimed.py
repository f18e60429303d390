"""Whether the privacy claims of records follow from what they were computed from."""

from __future__ import annotations

from collections.abc import Iterator

from mibench.claims import LARGEST, Claim, spent
from mibench.errors import MibenchError
from mibench.results.record import Record

__all__ = ["claim_problems"]

TOLERANCE = 1e-3  # of ε, and of itself where it is above 1


def claim_problems(records: dict[str, Record]) -> list[str]:
    """One line for each claim that does not follow from the record, and one on those that cannot be recomputed here.

    Args:
        records: by their path.
    """
    problems, unchecked, why = [], 0, ""
    for where, record in records.items():
        if (claim := record.model.claim) is None:
            continue
        problems += [f"records/{where}: {line}" for line in _disagreements(claim, record)]
        try:
            problems += [f"records/{where}: {line}" for line in _miscounted(claim)]
        except MibenchError as error:
            unchecked, why = unchecked + 1, str(error)
    if unchecked:
        problems.append(f"{unchecked} privacy claim{'s' * (unchecked > 1)} could not be checked: {why}")
    return problems


def _disagreements(claim: Claim, record: Record) -> Iterator[str]:
    """A claim of another training than the record's."""
    if claim.steps != record.model.steps:
        yield f"its claim is of {claim.steps} steps, its model of {record.model.steps}; run the suite again"
    epochs = record.model.epochs_per_member
    if epochs is not None and abs(claim.rate * claim.steps - epochs) > 1e-6 * epochs:
        drawn = f"{claim.rate * claim.steps:g} times"
        yield f"by its claim a member was drawn {drawn} on average, by its model {epochs:g}; run the suite again"


def _miscounted(claim: Claim) -> Iterator[str]:
    """An ε that is not the accountant's.

    Raises:
        MibenchError: without the accountant.
    """
    found = spent(claim.noise, claim.rate, claim.steps, claim.delta)
    told, now = (LARGEST if epsilon is None else epsilon for epsilon in (claim.epsilon, found))
    if abs(told - now) > TOLERANCE * max(1.0, now):
        values = f"noise {claim.noise:g}, rate {claim.rate:g}, {claim.steps} steps and δ = {claim.delta:g}"
        yield f"its claim says ε = {_shown(claim.epsilon)}; {values} give {_shown(found)}; run the suite again"


def _shown(epsilon: float | None) -> str:
    return f"none up to {LARGEST:g}" if epsilon is None else f"{epsilon:.4g}"
