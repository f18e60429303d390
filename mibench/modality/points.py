"""Points in a space of few dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mibench.metrics.features import RandomFourier
from mibench.modality.base import Modality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["POINTS"]


class Points(Modality):
    """Points (B, d) of about unit scale."""

    name = "points"
    space = RandomFourier()

    def move(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """A small rotation (sd .01 to .05 per plane), scaling and shift (of the same sd)."""
        size = 0.01 + 0.04 * strength
        d = x[0].numel()
        turn, scale, shift = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((d, d), (1,), (d,)))
        linear = torch.linalg.matrix_exp(size * (turn.triu(1) - turn.triu(1).mT)) * (1 + size * scale)
        moved: Tensor = (x.flatten(1)[:, None, :] * linear.to(x)).sum(-1) + size * shift.to(x)
        return moved.view_as(x)

    def figure(self, panels: dict[str, Tensor]) -> Figure:
        """The first two coordinates of 1000 points of each set, in two rows; real data is grey."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 6))
        axes = figure.subplots(2, -(-len(panels) // 2), sharex=True, sharey=True, squeeze=False)
        limit = 1.15 * panels["held out"].abs().max().item()
        for axis, (name, x) in zip(axes.flat, panels.items(), strict=False):
            axis.scatter(*x[:1000, :2].T, s=3, alpha=0.5, color="0.3" if name in ("members", "held out") else "C0")
            axis.set(title=name, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
        for axis in axes.flat[len(panels) :]:
            axis.axis("off")
        figure.tight_layout()
        return figure


POINTS = Points()
