"""What an attack is given beside model and samples: noise that is the same for every sample."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

__all__ = ["Context", "generator"]


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; different purposes of one seed are independent."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Context:
    """The noise bank of a cell (common random numbers: every sample meets the same draws).

    Args:
        seed: of the cell.
        device: where the noise is wanted.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.device = seed, device
        self._bank: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def generator(self, name: str) -> torch.Generator:
        """A fresh CPU generator for this name; the same at every call."""
        return generator(self.seed, "attack", name)

    def noise(self, name: str, *shape: int) -> Tensor:
        """Standard normal draws of this shape, float64; the same at every call with this name."""
        key = (name, shape)
        if key not in self._bank:
            draw = torch.randn(*shape, generator=self.generator(name), dtype=torch.float64)
            self._bank[key] = draw.to(self.device)
        return self._bank[key]
