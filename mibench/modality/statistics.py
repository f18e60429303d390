"""Statistics of images and spectrograms that show how they were processed, for the blind baseline."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["block_borders", "gradients", "radial_power"]

BANDS = 8
FLOOR = 1e-10


def radial_power(x: Tensor) -> Tensor:
    """Natural log of the mean power in 8 rings of spatial frequency, for the mean of the channels and what differs from it.

    Each channel is reduced by its mean and multiplied by a Hann window, so that its borders add no high frequencies.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, 8) for one channel, (B, 16) for several. Rings without a frequency are left out.
    """
    return torch.cat([_rings(part) for part in _parts(x)], 1)


def _rings(x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    window = torch.outer(*(torch.hann_window(side + 2, periodic=False)[1:-1].to(x) for side in (height, width)))
    power = torch.fft.rfft2((x - x.mean((2, 3), keepdim=True)) * window).abs().square().mean(1)
    frequency = torch.fft.fftfreq(height).to(x)[:, None].hypot(torch.fft.rfftfreq(width).to(x)[None])
    ring = (frequency / 0.5 * BANDS).long().clamp(max=BANDS - 1)
    means = [power[:, ring == k].mean(1) for k in range(BANDS) if (ring == k).any()]
    return (torch.stack(means, 1) + FLOOR).log()


def gradients(x: Tensor) -> Tensor:
    """Statistics of the differences between neighbours, for the mean of the channels and what differs from it.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, 8) for one channel, (B, 16) for several: for each axis the logs of the mean absolute first difference, of its mean
        square and of the mean absolute second difference, and the share of equal neighbours.
    """
    columns = []
    for part in _parts(x):
        for axis in (2, 3):
            first = part.diff(dim=axis)
            columns += [_log_mean(first.abs()), _log_mean(first.square()), _log_mean(first.diff(dim=axis).abs())]
            columns.append((first.abs() < 1e-6).to(x).mean((1, 2, 3)))
    return torch.stack(columns, 1)


def block_borders(x: Tensor) -> Tensor:
    """How much larger differences across the borders of blocks of 8 are than others, as JPEG makes them.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, F): a log of the ratio for each axis that is longer than 8, for the mean of the channels and what differs from it.
    """
    columns = [x.new_zeros(len(x), 0)]
    for part in _parts(x):
        for axis in (2, 3):
            size = part.diff(dim=axis).abs()
            border = torch.arange(size.shape[axis], device=x.device) % 8 == 7
            if border.any():
                across, within = (size.index_select(axis, of.nonzero()[:, 0]) for of in (border, ~border))
                columns.append((_log_mean(across) - _log_mean(within))[:, None])
    return torch.cat(columns, 1)


def _parts(x: Tensor) -> list[Tensor]:
    """The mean of the channels and, for several, what differs from it."""
    grey = x.mean(1, keepdim=True)
    return [grey] if x.shape[1] == 1 else [grey, x - grey]


def _log_mean(x: Tensor) -> Tensor:
    return (x.mean((1, 2, 3)) + FLOOR).log()
