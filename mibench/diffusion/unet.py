"""A U-Net for images and mels, on diffusers' UNet2DModel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mibench.errors import MibenchError

__all__ = ["PRESETS", "UNet"]


@dataclass(frozen=True)
class Preset:
    """The size of a U-Net.

    Attributes:
        channels: of each level.
        layers: residual blocks per level.
        attention: the level that attends, none for −1.
        fold: pixels of fold × fold become channels before the first level.
    """

    channels: tuple[int, ...]
    layers: int
    attention: int
    fold: int


PRESETS = {
    "unet-tiny": Preset((64, 128), 1, -1, 4),  # for two cores
    "unet-cifar": Preset((128, 256, 256, 256), 2, 1, 1),  # 2006.11239, 36 M parameters
}
PLACES = 8  # learned channels that encode the position
PACE = 30.0  # the sinusoidal features resolve steps of 1 in "time"; log-SNR has structure at a thirtieth of that


class UNet(nn.Module):
    """A U-Net that maps (blocks, log-SNR) to one block.

    Sides that the levels do not divide are padded by the nearest pixel, and cut again.

    Args:
        blocks: how many states the input concatenates.
        shape: (C, H, W) of one state.
        preset: a key of ``PRESETS``.

    Attributes:
        stackable: whether such networks can train in one stack; torch.vmap cannot follow one with attention there.

    Raises:
        MibenchError: if diffusers is missing, or the data are not images.
    """

    def __init__(self, blocks: int, shape: tuple[int, ...], preset: str) -> None:
        super().__init__()
        if len(shape) != 3:
            raise MibenchError(f"network {preset} is for images (C, H, W); this data has items of shape {shape}")
        size, (channels, *sides) = PRESETS[preset], shape
        self.fold, unit = size.fold, size.fold * 2 ** (len(size.channels) - 1)
        self.stackable = size.attention < 0
        self.sides = sides
        self.padded = [math.ceil(side / unit) * unit for side in sides]
        folded = [side // size.fold for side in self.padded]
        levels = range(len(size.channels))
        self.places = nn.Parameter(0.02 * torch.randn(1, PLACES, *folded))
        self.network = _diffusers("models", "UNet2DModel")(
            in_channels=blocks * channels * size.fold**2 + PLACES,
            out_channels=channels * size.fold**2,
            block_out_channels=size.channels,
            layers_per_block=size.layers,
            down_block_types=tuple("AttnDownBlock2D" if k == size.attention else "DownBlock2D" for k in levels),
            up_block_types=tuple("AttnUpBlock2D" if k == size.attention else "UpBlock2D" for k in reversed(levels)),
            add_attention=size.attention >= 0,
            attention_head_dim=None,  # one head, as in 2006.11239
            norm_num_groups=32,
        )
        for layer in self.network.modules():
            if (
                type(layer).__name__ == "Attention"
            ):  # plain products: gradients that repeat bit for bit, and vmap follows
                layer.set_processor(_diffusers("models.attention_processor", "AttnProcessor")())

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        """(B, blocks, C, H, W) and (B,) → (B, C, H, W)."""
        (height, width), (tall, wide) = self.sides, self.padded
        x = blocks.flatten(1, 2)
        if (height, width) != (tall, wide):  # Inductor of torch 2.15 cannot compile a pad of nothing
            x = functional.pad(x, (0, wide - width, 0, tall - height), mode="replicate")
        x = functional.pixel_unshuffle(x, self.fold)
        x = torch.cat([x, self.places.expand(len(x), -1, -1, -1)], dim=1)
        answer: Tensor = functional.pixel_shuffle(self.network(x, PACE * log_snr).sample, self.fold)
        return answer[..., :height, :width]


def _diffusers(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"diffusers.{module}"), name)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise MibenchError(f"the U-Net needs diffusers ({reason[:120]}): pip install 'mibench[unet]'") from None
