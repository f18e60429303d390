"""What an attack must return for a batch of samples, how many are in a batch, and which scores rest on rounding."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from mibench.errors import MibenchError
from mibench.metrics.scores import wins_and_half_ties

__all__ = ["BATCH", "LARGEST_SHIFT", "changed", "check_answer", "past_others", "scored_again", "with_other_last_bits"]

BATCH = 512
"""Samples that are scored at a time."""

# So many samples, or an eighth where that is fewer, are scored once more, in a batch of their own. Their scores must not change;
# a quarter of them may, since trees amplify rounding. A change is more than this share of the scores' standard deviation.
RESCORED, MAY_CHANGE, TOLERANCE = 32, 0.25, 0.01

LARGEST_SHIFT = 0.01
"""A setting is unstable if a change in the last bit moves samples past more than this share of the other side, on average."""

SETTING = re.compile(r"[\w=.,+@:/ -]{1,40}")
MOST_SETTINGS = 1000


def check_answer(answer: object, count: int, device: torch.device, attack: str) -> None:
    """Check what an attack returned for so many samples.

    Raises:
        MibenchError: naming the attack, the setting and what is wrong.
    """
    if not isinstance(answer, dict) or not answer:
        raise MibenchError(
            f"{attack} returned {type(answer).__name__}; it must return a dict of tensors, one per setting"
        )
    if len(answer) > MOST_SETTINGS:
        raise MibenchError(f"{attack} returned {len(answer)} settings; at most {MOST_SETTINGS} are allowed")
    for setting, values in answer.items():
        if wrong := _fault(setting, values, count, device):
            raise MibenchError(f"{attack}, setting {repr(setting)[:42]}: {wrong}")


def _fault(setting: object, values: object, count: int, device: torch.device) -> str | None:
    """What is wrong with a setting's name, or with its scores of so many samples."""
    if not isinstance(setting, str) or not SETTING.fullmatch(setting):
        return "the name of a setting must be a string of 1 to 40 letters, digits, spaces and =.,_+-@:/"
    if not isinstance(values, Tensor) or values.shape != (count,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        return f"expected a tensor of shape ({count},), got {shape}"
    if not values.is_floating_point():
        return f"scores must be floating-point numbers, got {values.dtype}"
    if values.requires_grad or values.device.type != device.type:
        return "scores must be on the device of the model, without gradients"
    if not torch.isfinite(values).all():
        return "a score is NaN or infinite"
    return None


def scored_again(order: Tensor) -> Tensor:
    """The samples that are scored once more, spread over the order of scoring (N,)."""
    count = max(8, min(RESCORED, len(order) // 8))
    return order[:: max(1, len(order) // count)][:count]


def with_other_last_bits(x: Tensor, generator: torch.Generator) -> Tensor:
    """The samples, each number but 0 replaced by one of the two nearest to it in double precision.

    In single precision these are the same numbers.

    Args:
        x: (B, *item), float64.
        generator: on the CPU; it chooses between the two.
    """
    up = torch.rand(x.shape, generator=generator).to(x.device) < 0.5
    return torch.where(x == 0, x, torch.nextafter(x, torch.where(up, torch.inf, -torch.inf).to(x)))


def changed(one: Tensor, other: Tensor, spread: float) -> bool:
    """Whether more than a few of the scores (B,) differ by more than rounding.

    Args:
        one, other: scores of the same samples.
        spread: the standard deviation of all scores.
    """
    return ((one - other).abs() > TOLERANCE * spread).double().mean().item() > MAY_CHANGE


def past_others(scores: Tensor, again: Tensor, rescored: Tensor, members: int) -> float:
    """How far a change of scores moves samples past those of the other side.

    The AUROC is the mean, over the members, of the share of non-members below them. This is by how much that share changes,
    on average, so that it bounds the change of the AUROC. A member's score that is rounding, but above all non-members, does
    not count.

    Args:
        scores: of all samples, (N,), members first.
        again: (B,) the indices of the samples whose scores have changed.
        rescored: their new scores, (B,).
        members: how many members there are.
    """
    sides = scores[:members].sort().values.numpy(), scores[members:].sort().values.numpy()
    shifts = []
    for others, chosen in ((sides[1], again < members), (sides[0], again >= members)):
        before, after = (wins_and_half_ties(v[chosen].numpy(), others) for v in (scores[again], rescored))
        shifts.append(np.abs(after - before) / (2 * len(others)))
    return float(np.concatenate(shifts).mean())
