"""Log-mel spectrograms of sounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mibench.metrics.features import RandomConv
from mibench.modality.base import Modality
from mibench.modality.image import IMAGE
from mibench.modality.statistics import gradients, radial_power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MEL"]


class Mel(Modality):
    """Spectrograms (B, C, bands, frames), low bands first."""

    name = "mel"
    space = RandomConv()

    def move(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """A little earlier or later, and a run of bands held at its mean over time.

        The shift is .02 to .1 of the length, interpolated, with the border repeated. The run has .05 to .2 of the bands, as in
        SpecAugment (1904.08779). A sound that does not change in time stays as it is.
        """
        side, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        shift = (0.02 + 0.08 * strength) * (1 if side < 0.5 else -1)
        window = torch.tensor([[1, 0, 2 * shift], [0, 1, 0]], dtype=x.dtype, device=x.device)
        grid = functional.affine_grid(window.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        moved: Tensor = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        count = max(1, round((0.05 + 0.15 * strength) * x.shape[2]))
        first = int(place * (x.shape[2] - count + 1))
        run = moved[:, :, first : first + count]
        return torch.cat(
            [moved[:, :, :first], run.mean(3, keepdim=True).expand_as(run), moved[:, :, first + count :]], 2
        )

    def spectrum_features(self, x: Tensor) -> Tensor:
        """Radial log-power, gradients, mean and deviation in 8 groups of bands, and the share of values at the floor."""
        groups = x.mean(1).tensor_split(min(8, x.shape[2]), dim=1)
        levels = [part(group.flatten(1), 1) for group in groups for part in (torch.mean, torch.std)]
        floor = (x == x.amin((1, 2, 3), keepdim=True)).to(x).flatten(1).mean(1)
        return torch.cat([radial_power(x), gradients(x), torch.stack([*levels, floor], 1)], 1)

    def figure(self, panels: dict[str, Tensor]) -> Figure:
        """Spectrograms as rows of images, low bands at the bottom, in the range of the held-out data."""
        return IMAGE.figure({name: _as_images(x, panels["held out"]) for name, x in panels.items()})

    def grid(self, x: Tensor) -> NDArray[np.uint8]:
        """Spectrograms as images side by side, in their common range."""
        return IMAGE.grid(_as_images(x, x))


def _as_images(x: Tensor, like: Tensor) -> Tensor:
    """Spectrograms turned upside down and scaled so that the values of ``like`` are in [−1, 1]."""
    low, high = like.amin(), like.amax()
    return 2 * (x.flip(2) - low) / (high - low).clamp(min=1e-12) - 1


MEL = Mel()
