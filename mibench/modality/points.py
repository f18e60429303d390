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
    canary_range = 2.0  # in few dimensions data fill much of their range

    def move(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """A small rotation (sd .01 to .05 per plane), scaling and shift (of the same sd)."""
        size = 0.01 + 0.04 * strength
        d = x[0].numel()
        turn, scale, shift = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((d, d), (1,), (d,)))
        linear = torch.linalg.matrix_exp(size * (turn.triu(1) - turn.triu(1).mT)) * (1 + size * scale)
        moved: Tensor = (x.flatten(1)[:, None, :] * linear.to(x)).sum(-1) + size * shift.to(x)
        return moved.view_as(x)

    def figure(self, panels: dict[str, Tensor]) -> Figure:
        """1000 points of each set, in two rows; real data is grey.

        Points of one dimension are a histogram; of those of more than two the first two principal components of the held-out
        data are drawn, which the title says.
        """
        from matplotlib.figure import Figure

        flat = {name: x.flatten(1).double() for name, x in panels.items()}
        figure = Figure(figsize=(11, 6))
        axes = figure.subplots(2, -(-len(panels) // 2), sharex=True, sharey=True, squeeze=False)
        if (d := flat["held out"].shape[1]) > 2:
            flat, share = _principal(flat)
            figure.suptitle(f"first two principal components of {d} dimensions, {share:.0%} of the variance")
        limit = 1.15 * flat["held out"].abs().max().item()
        for axis, (name, x) in zip(axes.flat, flat.items(), strict=False):
            color = "0.3" if name in ("members", "held out") else "C0"
            if d == 1:
                axis.hist(x[:1000, 0].numpy(), bins=50, range=(-limit, limit), density=True, color=color)
                axis.set(title=name, xlim=(-limit, limit), yticks=[])
            else:
                axis.scatter(*x[:1000].T, s=3, alpha=0.5, color=color)
                axis.set(title=name, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
        for axis in axes.flat[len(panels) :]:
            axis.axis("off")
        figure.tight_layout()
        return figure


def _principal(panels: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """Sets of points (B, d) on the first two principal axes of those held out, and the share of variance that these have."""
    held = panels["held out"]
    centre = held.mean(0)
    _, sizes, axes = torch.linalg.svd(held - centre, full_matrices=False)
    variance = sizes.square()
    return {name: (x - centre) @ axes[:2].T for name, x in panels.items()}, float(variance[:2].sum() / variance.sum())


POINTS = Points()
