"""Augmentation of images."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Dataset, Defense, Measure, Recipe, UsageError
from mibench.diffusion.pool import reflected


class Augment(Measure):
    """Augmentation: each step sees its images shifted, mirrored, or with a square cut out."""

    name = "augment"
    paper = "folklore; cutout: arXiv 1708.04552"
    stage = "data"
    adaptive = ("averaged",)

    shift: int = Field(1, ge=0, le=64, description="most pixels by which an image moves, down and to the right")
    flip: bool = Field(False, description="whether half of the images are mirrored, left to right")
    cutout: int = Field(0, ge=0, le=256, description="side of the square that is cut out, in pixels; 0 for none")

    def check(self, inner: Defense, dataset: Dataset, recipe: Recipe) -> None:
        """Only images."""
        if not dataset.modality.images:
            kind = dataset.modality.name
            raise UsageError(f"augment is for images; dataset {dataset.label} is of kind {kind!r}: leave augment out")

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Shift with the edges reflected, flip, then cutout, of images (B, C, H, W)."""
        count, channels, height, width = x.shape
        if self.shift >= min(height, width):
            raise UsageError(f"augment: shift {self.shift} moves images of {height} × {width} pixels away; lower it")

        def drawn(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (count, 1), generator=generator, device=x.device)

        rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
        if self.shift or self.flip:
            down, right = (drawn(-self.shift, self.shift + 1) for _ in range(2))
            source_rows, source_columns = reflected(rows - down), reflected(columns - right)
            if self.flip:
                source_columns = torch.where(drawn(0, 2) == 1, source_columns.flip(1), source_columns)
            image, channel = torch.arange(count, device=x.device), torch.arange(channels, device=x.device)
            x = x[image[:, None, None, None], channel[:, None, None], source_rows[:, None, :, None],
                  source_columns[:, None, None]]  # fmt: skip
        if self.cutout:
            # a square around a pixel, which may reach over the edge (1708.04552)
            hidden = _covers(rows, drawn(0, height), self.cutout)[:, :, None]
            hidden = hidden & _covers(columns, drawn(0, width), self.cutout)[:, None]
            x = torch.where(hidden[:, None], x.mean((2, 3), keepdim=True), x)
        return x


def _covers(places: Tensor, centre: Tensor, side: int) -> Tensor:
    """Whether each place (N,) is among the ``side`` ones around each centre (B, 1), (B, N)."""
    first = centre - side // 2
    return (places >= first) & (places < first + side)
