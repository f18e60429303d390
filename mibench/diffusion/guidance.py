"""Classifier-free guidance."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from mibench.diffusion.model import Model

__all__ = ["guided"]


def guided(model: Model, scale: float) -> Model:
    """A model that answers ε_∅ + s (ε_c − ε_∅), with c the condition and ∅ the empty one; s = 1 + w of 2207.12598, eq. 6.

    Each answer takes two of the model, which both count.

    Args:
        model: a conditional one, under the conditions that it has.
        scale: s; with 0 it answers under the empty condition, with 1 as without guidance.

    Raises:
        NotApplicable: where the model is not conditional, or knows no empty condition.
    """
    answering, other = copy.copy(model), copy.copy(model)
    other.under_none(1)
    own = answering.eps

    def eps(u: Tensor, t: float | Tensor) -> Tensor:
        other.under_none(len(u))
        return torch.lerp(other.eps(u, t), own(u, t), scale)

    answering.eps = eps  # type: ignore[method-assign]
    return answering
