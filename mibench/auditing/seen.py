"""The modality of audited files: what describes a sample is computed from the file as it was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mibench.errors import NotApplicable
from mibench.modality import Modality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Decode", "Seen"]

Decode = Callable[[Tensor], Tensor]


class Seen(Modality):
    """Another modality, for samples that may have been scaled or encoded since they were read.

    Args:
        base: the modality of the files.
        rows: spectrum features by the bytes of a sample.
        move: shift and scale of the samples.
        decode: from samples without that shift and scale to samples as they were read; None where they are the same.
    """

    def __init__(
        self, base: Modality, rows: dict[bytes, Tensor], move: tuple[float, float], decode: Decode | None = None
    ) -> None:
        self.base, self._rows, self._move, self._decode = base, rows, move, decode
        self.name, self.space, self.images, self.canary_range = base.name, base.space, base.images, base.canary_range

    @classmethod
    def of(
        cls,
        base: Modality,
        parts: list[tuple[Tensor, Tensor]],
        move: tuple[float, float],
        decode: Decode | None = None,
    ) -> Seen:
        """That of samples (B, *item) with their features (B, F), part by part."""
        shift, scale = move
        rows = {
            item.tobytes(): features
            for x, spectrum in parts
            for item, features in zip(((x - shift) / scale).numpy(), spectrum, strict=True)
        }
        return cls(base, rows, move, decode)

    def move(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """See Modality."""
        return self.base.move(x, strength, generator)

    def blind_features(self, x: Tensor) -> Tensor:
        """See Modality."""
        return self.base.blind_features(x)

    def spectrum_features(self, x: Tensor) -> Tensor:
        """Those of the samples as they were read."""
        found = [self._rows.get(item.tobytes()) for item in x.detach().cpu().float().contiguous().numpy()]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found):
            raise NotApplicable("a sample is none of the files'")
        if not rows[0].numel():
            raise NotApplicable(f"samples of the modality {self.name} have no spectrum")
        return torch.stack(rows).to(x)

    def figure(self, panels: dict[str, Tensor]) -> Figure:
        """See Modality."""
        return self.base.figure({name: self._raw(x) for name, x in panels.items()})

    def grid(self, x: Tensor) -> NDArray[np.uint8] | None:
        """See Modality."""
        return self.base.grid(self._raw(x))

    def _raw(self, x: Tensor) -> Tensor:
        shift, scale = self._move
        raw = x * scale + shift
        return raw if self._decode is None else self._decode(raw)
