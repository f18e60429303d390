"""Images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mibench.metrics.features import RandomConv
from mibench.modality.base import Modality
from mibench.modality.statistics import block_borders, gradients, radial_power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["IMAGE"]


class Image(Modality):
    """Images (B, C, H, W) in [−1, 1]."""

    name = "image"
    space = RandomConv()
    images = True

    def move(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """A crop at a random place, resized back; its side is 1 − .05 to 1 − .3 of the image's.

        The window has a fractional size and place: whole pixels would leave an image of 8 pixels as it is.
        """
        side = 0.95 - 0.25 * strength
        shift = (1 - side) * (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1)
        window = torch.cat([side * torch.eye(2, dtype=torch.float64), shift[:, None]], dim=1).to(x)
        grid = functional.affine_grid(window.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        moved: Tensor = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return moved

    def spectrum_features(self, x: Tensor) -> Tensor:
        """Radial log-power, gradients, the borders of JPEG's blocks, and the share of pixels that are whole grey levels."""
        level = (x + 1) * 127.5
        whole = ((level - level.round()).abs() < 1e-3).to(x).flatten(1).mean(1, keepdim=True)
        return torch.cat([radial_power(x), gradients(x), block_borders(x), whole], 1)

    def figure(self, panels: dict[str, Tensor]) -> Figure:
        """A row of up to 20 images for each set."""
        from matplotlib.figure import Figure

        count = min(20, *(len(x) for x in panels.values()))
        figure = Figure(figsize=(count * 0.5, len(panels) * 0.55))
        axes = figure.subplots(len(panels), count, squeeze=False)
        for row, (name, x) in zip(axes, panels.items(), strict=True):
            for axis, pixels in zip(row, _pixels(x[:count]), strict=True):
                axis.imshow(pixels, cmap="gray" if pixels.shape[2] == 1 else None, vmin=0, vmax=1)
                axis.set(xticks=[], yticks=[])
            row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        figure.subplots_adjust(left=0.12, right=0.99, top=0.98, bottom=0.02, wspace=0.08, hspace=0.08)
        return figure

    def grid(self, x: Tensor) -> NDArray[np.uint8]:
        """Images side by side with white between them; each pixel becomes a square of several where images are small."""
        count, times = len(x), max(1, 64 // max(x.shape[2:]))
        columns = math.ceil(math.sqrt(count))
        tiles = np.round(255 * np.broadcast_to(_pixels(x), (count, *x.shape[2:], 3))).astype(np.uint8)
        tiles = np.pad(
            tiles.repeat(times, 1).repeat(times, 2),
            ((0, -count % columns), (1, 1), (1, 1), (0, 0)),
            constant_values=255,
        )
        _, height, width, _ = tiles.shape
        return tiles.reshape(-1, columns, height, width, 3).swapaxes(1, 2).reshape(-1, columns * width, 3)


def _pixels(x: Tensor) -> NDArray[np.float32]:
    """Images (B, C, H, W) in [−1, 1] as (B, H, W, C) in [0, 1]."""
    pixels: NDArray[np.float32] = ((x.clamp(-1, 1) + 1) / 2).movedim(-3, -1).numpy()
    return pixels


IMAGE = Image()
