"""Proximal initialisation attack, normalised."""

import math

from torch import Tensor

from mibench import Model
from mibench_attacks.pia import PIA


class PIAN(PIA):
    """PIA with its first answer scaled to the mean absolute value that noise would have."""

    name = "pian"
    title = "PIAN"
    paper = "arXiv 2305.18355"

    def first_answer(self, model: Model, start: Tensor) -> Tensor:
        """ε_n √(2/π) / mean |ε_n| per sample, where ε_n is PIA's."""
        first = super().first_answer(model, start)
        size = first.flatten(1).abs().mean(1).clamp_min(1e-3)  # 0 for a member of VE's exact model
        return first * (math.sqrt(2 / math.pi) / size).view(-1, *[1] * len(model.shape))
