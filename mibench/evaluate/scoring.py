"""What an attack must return for a batch of samples, and how many are in a batch."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from mibench.errors import MibenchError

__all__ = ["BATCH", "RESCORED", "check_answer", "check_rescored"]

BATCH = 512
"""Samples that are scored at a time."""

# So many samples are scored again in a batch of their own. Their scores must not change; two of eight may, since trees amplify
# rounding. A change is more than this share of the scores' standard deviation.
RESCORED, MAY_CHANGE, TOLERANCE = 8, 2, 0.01

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


def check_rescored(scores: Tensor, again: Tensor, rescored: Tensor, setting: str) -> None:
    """Check that scores do not depend on the other samples of the batch.

    Args:
        scores: of all samples, (N,).
        again: (B,) the indices of the samples that were scored again, in a batch of their own.
        rescored: their new scores, (B,).
        setting: names attack and setting.

    Raises:
        MibenchError: where more than a few of them have changed.
    """
    changed = int(((rescored - scores[again]).abs() > TOLERANCE * scores.std()).sum())
    if changed > MAY_CHANGE:
        raise MibenchError(
            f"{setting}: scores depend on the other samples of the batch ({changed} of {len(again)} change in another "
            "batch); take noise from ctx, statistics from fit()"
        )
