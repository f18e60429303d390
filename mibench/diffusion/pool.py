"""The members on a device, from which a training draws its batches, and their augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from mibench.errors import MibenchError

__all__ = ["SHIFT", "Pool", "reflected"]

SHIFT = 4
"""The most pixels by which a crop moves an image."""


class Pool:
    """Members on a device. Data of at most 256 different values, as 8-bit images have, takes a byte per value there.

    Args:
        members: (M, *item).
        device: where batches are wanted.
        augment: "flip", each image mirrored or not, and "crop", each cut from itself padded by reflection, ``SHIFT`` pixels
            a side.

    Raises:
        MibenchError: where items that are to be augmented are no images, or too small.
    """

    def __init__(self, members: Tensor, device: torch.device, augment: tuple[str, ...] = ()) -> None:
        self.augment = augment
        self.values, self.members = None, members
        if (packed := _packed(members)) is not None:
            self.members, values = packed
            self.values = values.to(device)
        self.members = self.members.to(device, None if packed else torch.float64)
        if augment:
            if members.dim() != 4 or min(members.shape[2:]) <= SHIFT:
                raise MibenchError(
                    f"recipe: augment is for images (C, H, W) of more than {SHIFT} pixels a side; these items have the shape "
                    f"{tuple(members.shape[1:])}"
                )
            self.channels, self.rows, self.columns = (torch.arange(side, device=device) for side in members.shape[1:])

    def draw_augmentation(self, batch: int, generator: torch.Generator) -> Tensor:
        """Per item of a batch: mirrored (0 or 1), pixels down, pixels to the right; (3, B), or (0, B) without augmentation."""
        moves = torch.zeros(3 if self.augment else 0, batch, dtype=torch.int64, device=self.members.device)
        if "flip" in self.augment:
            torch.randint(2, (batch,), generator=generator, out=moves[0])
        if "crop" in self.augment:
            torch.randint(-SHIFT, SHIFT + 1, (2, batch), generator=generator, out=moves[1:])
        return moves

    def batch(self, index: Tensor, moves: Tensor | None) -> Tensor:
        """The members with these indices (B,), augmented: (B, *item) float64."""
        if moves is not None and len(moves):
            mirrored, down, right = moves[:, :, None]
            rows, columns = reflected(self.rows + down), reflected(self.columns + right)
            columns = torch.where(mirrored == 1, columns.flip(1), columns)
            picked = self.members[
                index[:, None, None, None], self.channels[:, None, None], rows[:, None, :, None], columns[:, None, None]
            ]
        else:
            picked = self.members[index]
        return picked if self.values is None else self.values[picked.long()]


def reflected(places: Tensor) -> Tensor:
    """Places (B, N) beside an image of N pixels, reflected at its outermost pixels."""
    last = places.shape[1] - 1
    return last - (last - places.abs()).abs()


def _packed(members: Tensor, rows: int = 256) -> tuple[Tensor, Tensor] | None:
    """Members as uint8 indices of their values, and these values, (≤ 256,) float64; None where there are more values.

    Values are compared by their bits, so that unpacking gives them back exactly.
    """
    parts = torch.split(members, rows)
    known = torch.unique(_bits(parts[0][:1]))
    for part in parts:
        if len(known) > 256:
            return None
        bits = _bits(part)
        new = bits[known[_place(known, bits)] != bits]
        known = torch.unique(torch.cat([known, new]))
    if len(known) > 256:
        return None
    return torch.cat([_place(known, _bits(part)).to(torch.uint8) for part in parts]), known.view(torch.float64)


def _bits(x: Tensor) -> Tensor:
    return x.to("cpu", torch.float64).contiguous().view(torch.int64)


def _place(known: Tensor, bits: Tensor) -> Tensor:
    """The index at which each would be inserted into the known, which ascend."""
    return torch.searchsorted(known, bits).clamp(max=len(known) - 1)
