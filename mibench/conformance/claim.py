"""Whether a claim of privacy follows from its own numbers, and whether the step is one that can keep it."""

from __future__ import annotations

import math

from mibench.claims import Claim, spent
from mibench.conformance.defense import RECIPE
from mibench.conformance.fault import Fault
from mibench.defenses import Defense

__all__ = ["check_claim"]

MEMBERS = 20


def check_claim(defense: Defense) -> str:
    """The claim follows from its noise, rate and steps, is of the steps taken, and the step is not the usual one.

    That the step adds the noise it claims is not checked: only an audit can refute that.
    """
    recipe = defense.adapt_recipe(RECIPE)
    claim = defense.claim(MEMBERS, recipe)
    if claim is None:
        return "no privacy is claimed"
    if not isinstance(claim, Claim):
        raise Fault(f"its claim() gives {type(claim).__name__}; return mibench.Claim.of(…), or None")
    if not defense.changes("step"):
        raise Fault("it claims privacy, but trains by the usual step, which adds no noise; implement step()")
    found = spent(claim.noise, claim.rate, claim.steps, claim.delta)
    told, now = (math.inf if epsilon is None else epsilon for epsilon in (claim.epsilon, found))
    if not math.isclose(told, now, rel_tol=1e-3):
        raise Fault(
            f"it claims ε = {claim.epsilon}, but its noise, rate, steps and δ give {found}; let mibench.Claim.of compute it"
        )
    if claim.steps != recipe.steps or (early := defense.claim(MEMBERS, recipe, 1)) is None or early.steps != 1:
        raise Fault("its claim is not of the steps that were taken; pass on `steps`, or the recipe's where it is None")
    return str(claim)
