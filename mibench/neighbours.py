"""Neighbours of samples: the same small moves for every sample, of the kind that suits the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["MOVES", "neighbours"]

Move = Callable[[Tensor, float, torch.Generator], Tensor]


def crop(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A crop at a random place, resized back to (B, C, H, W); its side is 1 − .05 to 1 − .3 of the image's.

    The window has a fractional size and place: whole pixels would leave an image of 8 pixels as it is.
    """
    side = 0.95 - 0.25 * strength
    shift = (1 - side) * (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1)
    window = torch.cat([side * torch.eye(2, dtype=torch.float64), shift[:, None]], dim=1).to(x)
    grid = functional.affine_grid(window.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    moved: Tensor = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return moved


def jiggle(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A small rotation (of sd .01 to .05 per plane), scaling and shift (of the same sd) of points (B, *item)."""
    size = 0.01 + 0.04 * strength
    d = x[0].numel()
    turn, scale, shift = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((d, d), (1,), (d,)))
    linear = torch.linalg.matrix_exp(size * (turn.triu(1) - turn.triu(1).mT)) * (1 + size * scale)
    moved: Tensor = (x.flatten(1)[:, None, :] * linear.to(x)).sum(-1) + size * shift.to(x)
    return moved.view_as(x)


def shift_and_mask(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Spectrograms (B, C, bands, frames) a little earlier or later, with a run of bands at rest.

    The shift is .02 to .1 of the length, interpolated, the border repeated; the run, of .05 to .2 of the bands, as in
    SpecAugment (1904.08779), is held at its mean over time. A sound that does not change in time stays what it is.
    """
    side, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    shift = (0.02 + 0.08 * strength) * (1 if side < 0.5 else -1)
    window = torch.tensor([[1, 0, 2 * shift], [0, 1, 0]], dtype=x.dtype, device=x.device)
    grid = functional.affine_grid(window.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    moved: Tensor = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    count = max(1, round((0.05 + 0.15 * strength) * x.shape[2]))
    first = int(place * (x.shape[2] - count + 1))
    run = moved[:, :, first : first + count]
    return torch.cat([moved[:, :, :first], run.mean(3, keepdim=True).expand_as(run), moved[:, :, first + count :]], 2)


MOVES: dict[str, Move] = {"image": crop, "mel": shift_and_mask, "points": jiggle}


def neighbours(x: Tensor, count: int, modality: str, generator: torch.Generator) -> list[Tensor]:
    """Moved copies of (B, *item) samples, nearest first: copy j moves every sample alike.

    Args:
        x: the samples.
        count: how many copies.
        modality: a key of ``MOVES``; an entry there makes another kind of data known.
        generator: of the moves.
    """
    strengths = [j / max(1, count - 1) for j in range(count)]
    return [MOVES[modality](x, strength, generator) for strength in strengths]
