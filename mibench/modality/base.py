"""What a kind of data must bring: a feature space, neighbours of a sample, and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mibench.errors import NotApplicable
from mibench.metrics.features import FeatureSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Modality"]


class Modality:
    """A kind of data, such as images. A dataset names one instance: ``modality = IMAGE``.

    A plugin adds a kind by a subclass in its own file. It must set ``name`` and ``space``; the rest has defaults.

    Attributes:
        name: lower-case letters, for messages.
        space: the feature space in which utility is measured.
        images: whether samples are images (B, C, H, W) in [−1, 1]. Inception features, mirrored copies for training and
            frequency filters are for images only.
        canary_range: how wide the range of a canary's values is, in ranges of the data.
    """

    name: str
    space: FeatureSpace
    images: bool = False
    canary_range: float = 1.0

    def move(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """Samples (B, *item), all changed alike and so little that they keep their meaning.

        Args:
            x: the samples.
            strength: from 0, the smallest change, to 1.
            generator: a CPU generator.

        Raises:
            NotApplicable: where this kind of data has no such change; an attack that needs neighbours is then skipped.
        """
        raise NotApplicable(f"samples of the modality {self.name} have no neighbours")

    def neighbours(self, x: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        """``count`` moved copies of samples (B, *item), from the smallest change to the largest."""
        return [self.move(x, j / max(1, count - 1), generator) for j in range(count)]

    def canaries(self, x: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Outliers for an audit, (count, *item) float32: uniform noise, each value alike, around the middle of the data's range.

        Args:
            x: (B, *item) samples, of which the smallest and the largest value count.
            count: how many.
            generator: a CPU generator.
        """
        low, high = x.amin(), x.amax()
        noise = torch.rand(count, *x.shape[1:], generator=generator) - 0.5
        return ((low + high) / 2 + self.canary_range * (high - low) * noise).float()

    def blind_features(self, x: Tensor) -> Tensor:
        """What the blind baseline sees of samples (B, *item), (B, D): by default all their values."""
        return x.flatten(1)

    def spectrum_features(self, x: Tensor) -> Tensor:
        """Statistics of samples (B, *item), (B, F), that show how they were processed, for ``blind:features=spectrum``.

        Raises:
            NotApplicable: where this kind of data has none.
        """
        raise NotApplicable(f"samples of the modality {self.name} have no spectrum")

    def figure(self, panels: dict[str, Tensor]) -> Figure:
        """One panel for each named set of samples (B, *item): by default the values of 20 samples as lines.

        "held out", real data, is always among the sets, and sets the scale.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 1.5 * len(panels)), layout="tight")
        axes = figure.subplots(len(panels), sharex=True, sharey=True, squeeze=False)
        for axis, (name, x) in zip(axes[:, 0], panels.items(), strict=True):
            axis.plot(x[:20].flatten(1).T, lw=0.5)
            axis.set_title(name)
        return figure

    def grid(self, x: Tensor) -> NDArray[np.uint8] | None:
        """One picture of samples (B, *item), (height, width, 3) pixels; None where ``figure`` is to be drawn instead."""
        return None
