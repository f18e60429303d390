"""The autoencoder of a latent model: from images to what its network is trained on, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mibench.auditing.parts import load_part, read_config
from mibench.errors import UsageError

__all__ = ["Latents", "load_latents"]

KNOWN = ("AutoencoderKL", "VQModel")
AT_ONCE = 1 << 20
"""Pixels of images that go through the autoencoder at a time."""


class Latents(nn.Module):
    """Latents as pipelines of diffusers train on them: the mode of the posterior, shifted and scaled by the config's factors.

    z = (mode − mean) · factor / deviation (arXiv 2112.10752, appendix G, without mean and deviation). The mode, not a draw: an
    attacker who has the file knows no more of the draw than that.

    Args:
        autoencoder: an ``AutoencoderKL`` or ``VQModel``.
        size: height and width of an image.
    """

    def __init__(self, autoencoder: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        config: Any = autoencoder.config
        self.autoencoder: Any = autoencoder
        self.shape = (int(config.in_channels), *size)
        shift = config.get("latents_mean") or [config.get("shift_factor") or 0.0]
        deviation = config.get("latents_std") or [1.0]
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.tensor(shift).view(-1, 1, 1))
        self.register_buffer("scale", torch.tensor(deviation).view(-1, 1, 1) / config.scaling_factor)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The latents (B, *item) of images (B, C, H, W) in [−1, 1], float32 on the CPU."""
        return torch.cat([self._encoded(part.to(self.scale)).cpu() for part in torch.split(x, self._rows)])

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The images (B, C, H, W) of latents (B, *item), float32 on the CPU."""
        parts = torch.split(z, self._rows)
        return torch.cat(
            [self.autoencoder.decode(z.to(self.scale) * self.scale + self.shift).sample.cpu() for z in parts]
        )

    def _encoded(self, x: Tensor) -> Tensor:
        answer = self.autoencoder.encode(x)
        mode: Tensor = answer.latent_dist.mode() if hasattr(answer, "latent_dist") else answer.latents
        return (mode - self.shift) / self.scale

    @property
    def _rows(self) -> int:
        return max(1, AT_ONCE // (self.shape[1] * self.shape[2]))


def latents_config(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder of a pipeline's autoencoder and its config; None for a model of images themselves.

    Raises:
        UsageError: where it is of an unknown kind.
    """
    folder = next((folder for folder in (root / "vae", root / "vqvae") if folder.is_dir()), None)
    if folder is None:
        return None
    config = read_config(folder / "config.json")
    if (name := str(config.get("_class_name"))) not in KNOWN:
        raise UsageError(f"{folder}: unknown autoencoder {name[:60]!r}; known: {', '.join(KNOWN)}")
    return folder, config


def load_latents(root: Path, shape: tuple[int, int, int], trust_pickle: bool) -> Latents | None:
    """The autoencoder of a pipeline; None for a model of images themselves.

    Args:
        root: of the pipeline.
        shape: of one sample of the network.
        trust_pickle: whether weights that are pickles are read.

    Raises:
        UsageError: where it is of an unknown kind, cannot be loaded, or does not fit the network.
    """
    if (found := latents_config(root)) is None:
        return None
    folder, config = found
    if (channels := config.get("latent_channels")) != shape[0]:
        raise UsageError(
            f"{folder}: its latents have {channels} channels, the network takes {shape[0]}; networks that are given an image "
            "besides (inpainting, editing) are not known"
        )
    times = 2 ** (len(config["block_out_channels"]) - 1)
    autoencoder = load_part(folder, str(config["_class_name"]), trust_pickle)
    return Latents(autoencoder, (shape[1] * times, shape[2] * times))
