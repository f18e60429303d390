"""A smooth function of one variable, tabulated once and interpolated from then on."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Table"]

NODES = 16


class Table:
    """Piecewise Chebyshev interpolation, 16 points on each panel.

    Args:
        function: (N,) arguments to (N, features).
        edges: (P + 1,) ascending, where the panels meet.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], edges: Tensor) -> None:
        self.edges, self.widths = edges, edges.diff()
        index = torch.arange(NODES, dtype=torch.float64)
        self.nodes = (1 - (math.pi * (index + 0.5) / NODES).cos()) / 2
        self.weights = (1 - 2 * (index % 2)) * (math.pi * (index + 0.5) / NODES).sin()
        points = edges[:-1, None] + self.widths[:, None] * self.nodes
        self.values = function(points.flatten()).view(len(self.widths), NODES, -1)

    def __call__(self, x: Tensor) -> Tensor:
        """The function at (N,) arguments, (N, features), by the barycentric formula (Berrut & Trefethen 2004, eq. 4.2).

        Raises:
            ValueError: where an argument lies outside the table by more than rounding.
        """
        slack = 1e-9 * (1 + self.edges.abs().max())
        if not ((x > self.edges[0] - slack) & (x < self.edges[-1] + slack)).all():
            raise ValueError("the table ends before this argument")
        panel = (torch.searchsorted(self.edges, x, right=True) - 1).clamp(0, len(self.widths) - 1)
        apart = ((x - self.edges[panel]) / self.widths[panel])[:, None] - self.nodes
        share = self.weights / torch.where(apart == 0, 1e-300, apart)
        return torch.einsum("bk,bkf->bf", share / share.sum(1, keepdim=True), self.values[panel])
