"""Whether the privacy claims of records follow from what they were computed from."""

from __future__ import annotations

from collections.abc import Iterator

from mibench.claims import LARGEST, Claim, spent
from mibench.defenses import Defense
from mibench.errors import MibenchError
from mibench.recipe import Recipe
from mibench.results.known import Known
from mibench.results.record import Record

__all__ = ["claim_problems"]

TOLERANCE = 1e-3  # of ε, and of itself where it is above 1
VALUES = ("noise", "rate", "steps", "delta", "clip", "draws")


def claim_problems(records: dict[str, Record], known: Known) -> list[str]:
    """One line for each claim that does not follow from its record, and one on those that cannot be computed here.

    Compared are ε with that of noise, rate, steps and δ; steps and rate with those of the model; and everything with what the
    defense claims of this training, where it is at hand.

    Args:
        records: by their path.
        known: components at hand.
    """
    problems, unchecked, why = [], 0, ""
    for where, record in records.items():
        try:
            problems += [f"records/{where}: {line}; run the suite again" for line in _problems(record, known)]
        except MibenchError as error:
            unchecked, why = unchecked + 1, str(error)
    if unchecked:
        problems.append(f"{unchecked} privacy claim{'s' * (unchecked > 1)} could not be checked: {why}")
    return problems


def _problems(record: Record, known: Known) -> list[str]:
    """What is wrong with the claim of a record, or with having none.

    Raises:
        MibenchError: where it cannot be computed.
    """
    told = record.model.claim
    lines = [*_of_another_training(told, record), *_miscounted(told)] if told else []
    if record.cell.recipe is None or record.split is None or known.stale(record):
        return lines
    defense = known.component("defense", record.labels["defense"])
    return lines + ([*_unlike(told, _claim(defense, record), record)] if isinstance(defense, Defense) else [])


def _of_another_training(claim: Claim, record: Record) -> Iterator[str]:
    """Steps or a rate that are not those of the record's model."""
    if claim.steps != record.model.steps:
        yield f"its claim is of {claim.steps} steps, its model of {record.model.steps}"
    epochs = record.model.epochs_per_member
    if epochs is not None and abs(claim.rate * claim.steps - epochs) > 1e-6 * epochs:
        drawn = f"{claim.rate * claim.steps:g} times"
        yield f"by its claim a member was drawn {drawn} on average, by its model {epochs:g}"


def _miscounted(claim: Claim) -> Iterator[str]:
    """An ε that is not the accountant's."""
    found = spent(claim.noise, claim.rate, claim.steps, claim.delta)
    told, now = (LARGEST if epsilon is None else epsilon for epsilon in (claim.epsilon, found))
    if abs(told - now) > TOLERANCE * max(1.0, now):
        values = f"noise {claim.noise:g}, rate {claim.rate:g}, {claim.steps} steps and δ = {claim.delta:g}"
        yield f"its claim says ε = {_shown(claim.epsilon)}; {values} give {_shown(found)}"


def _claim(defense: Defense, record: Record) -> Claim | None:
    """What a defense claims of the training of a record."""
    assert record.split and record.cell.recipe is not None
    recipe = defense.adapt_recipe(Recipe.model_validate(record.cell.recipe))
    members, model = record.split.members + (record.split.canaries or (0, 0))[1], record.model
    if model.steps and model.epochs_per_member:  # some members may be left out
        members = min(members, round(recipe.batch * model.steps / model.epochs_per_member))
    return defense.claim(members, recipe, model.steps)


def _unlike(told: Claim | None, expected: Claim | None, record: Record) -> Iterator[str]:
    """A claim that is not the defense's."""
    label = record.labels["defense"]
    if told is None or expected is None:
        if told is not expected:
            yield f"it has no claim, and {label} makes one" if expected else f"it has a claim, and {label} makes none"
        return
    apart = [name for name in VALUES if _differ(getattr(told, name), getattr(expected, name))]
    if apart:
        found, right = (" and ".join(f"{name} {getattr(of, name):g}" for name in apart) for of in (told, expected))
        yield f"its claim is of {found}, that of {label} of {right}"


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > TOLERANCE * abs(other)


def _shown(epsilon: float | None) -> str:
    return f"none up to {LARGEST:g}" if epsilon is None else f"{epsilon:.4g}"
