"""SpecAugment."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import MEL, Dataset, Defense, Measure, Recipe, UsageError


class SpecAugment(Measure):
    """SpecAugment: each step sees its mels with bands and stretches of time masked."""

    name = "spec-augment"
    paper = "arXiv 1904.08779"
    stage = "data"
    adaptive = ("averaged",)

    bands: int = Field(8, ge=0, le=512, description="F, most bands of a mask")
    frames: int = Field(8, ge=0, le=4096, description="T, most frames of a mask")
    masks: int = Field(1, ge=1, le=16, description="masks of either kind")

    def check(self, inner: Defense, dataset: Dataset, recipe: Recipe) -> None:
        """Only mels."""
        if dataset.modality is not MEL:
            kind = dataset.modality.name
            raise UsageError(
                f"spec-augment is for mels; dataset {dataset.label} is of kind {kind!r}: leave spec-augment out"
            )

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mels (B, 1, bands, frames), masked with 0, the mean of normalised mels; no time warping (1904.08779, section 2)."""
        for _ in range(self.masks):
            bands = _masked(x.shape[2], self.bands, len(x), generator)
            frames = _masked(x.shape[3], self.frames, len(x), generator)
            x = x.masked_fill(bands[:, None, :, None] | frames[:, None, None], 0.0)
        return x


def _masked(size: int, widest: int, count: int, generator: torch.Generator) -> Tensor:
    """Masks (B, size) of uniform width w ≤ ``widest``, from a uniform place in [0, size − w]."""
    device = generator.device
    width = torch.randint(min(widest, size) + 1, (count, 1), generator=generator, device=device)
    first = (torch.rand(count, 1, generator=generator, device=device) * (size - width + 1)).long()
    places = torch.arange(size, device=device)
    return (places >= first) & (places < first + width)
