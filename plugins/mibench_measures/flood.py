"""Flooding."""

from pydantic import Field
from torch import Tensor

from mibench import Defense, Measure


class Flood(Measure):
    """Flooding: where the loss of a batch is below a level, the step climbs instead."""

    name = "flood"
    paper = "arXiv 2002.08709"
    stage = "step"
    mixes = True
    adaptive = ("lira",)

    level: float = Field(0.4, ge=0, le=100, description="b, below which the loss does not stay")

    def reduce(self, inner: Defense, losses: Tensor) -> Tensor:
        """|J − b| + b, of the loss J of a batch."""
        return (inner.reduce(losses) - self.level).abs() + self.level
