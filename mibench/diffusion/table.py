"""A smooth function of one variable, tabulated once and interpolated from then on."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Table"]

WIDTH, NODES = 0.4, 16


class Table:
    """Piecewise Chebyshev interpolation, 16 points on each panel of width 0.4 or less.

    Args:
        function: (N,) arguments to (N, features).
        start: first argument.
        end: last argument.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], start: float, end: float) -> None:
        self.start, self.panels = start, max(1, math.ceil((end - start) / WIDTH))
        self.width = (end - start) / self.panels
        index = torch.arange(NODES, dtype=torch.float64)
        self.nodes = (1 - (math.pi * (index + 0.5) / NODES).cos()) / 2
        self.weights = (1 - 2 * (index % 2)) * (math.pi * (index + 0.5) / NODES).sin()
        points = start + self.width * (torch.arange(self.panels, dtype=torch.float64)[:, None] + self.nodes)
        self.values = function(points.flatten()).view(self.panels, NODES, -1)

    def __call__(self, x: Tensor) -> Tensor:
        """The function at (N,) arguments, (N, features), by the barycentric formula (Berrut & Trefethen 2004, eq. 4.2)."""
        place = (x - self.start) / self.width
        panel = place.long().clamp(0, self.panels - 1)
        apart = (place - panel)[:, None] - self.nodes
        share = self.weights / torch.where(apart == 0, 1e-300, apart)
        return torch.einsum("bk,bkf->bf", share / share.sum(1, keepdim=True), self.values[panel])
