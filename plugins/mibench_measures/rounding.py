"""Rounding of the answers of the released model."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Kernel, Measure, Model
from mibench.diffusion.denoisers import Denoiser


class Round(Measure):
    """Rounding: the model is released as a service that rounds each number of its answers.

    Weights are not released; gradients of the answers are, as those of the model without rounding.
    """

    name = "round"
    paper = "folklore; compare arXiv 1610.05820"
    stage = "release"
    adaptive = ("averaged",)

    unit: float = Field(0.1, gt=0, le=100, description="of which each number is made a multiple; ε_n has unit variance")

    def release(self, model: Model) -> Model:
        """The nearest multiple of the unit to ε_θ."""
        model.denoiser = RoundedDenoiser(model.denoiser, self.unit)
        return model


class RoundedDenoiser:
    """A denoiser with rounded answers.

    Args:
        inner: the denoiser.
        unit: of which answers are multiples.
    """

    def __init__(self, inner: Denoiser, unit: float) -> None:
        self.inner, self.unit = inner, unit
        self.data_variance: float = getattr(inner, "data_variance", 0.0)

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        """See ``Denoiser``."""
        answer = self.inner(u, kernel)
        with torch.no_grad():
            rounded = (answer / self.unit).round() * self.unit
        return answer + (rounded - answer).detach() if answer.requires_grad else rounded
