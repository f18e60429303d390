"""A VP model of mibench as a model of diffusers."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from mibench.diffusion.denoisers import parameterisations
from mibench.diffusion.networks import build
from mibench.diffusion.process import Kernel
from mibench.recipe import Recipe

__all__ = ["ExportedNetwork"]


class ExportedNetwork(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts ε from a noised sample and its step, as ``UNet2DModel`` does; mibench must be installed to load it.

    Args:
        shape: of one sample.
        recipe: that trained it, which gives the network's size.
        parameterisation: "plain" or "sufficient".
        data_variance: mean square of the members.
        log_snr: (N,) at the steps.
        sample_size, in_channels, out_channels: as in ``UNet2DModel``, for pipelines.
        normalisation: shift and scale of the data: a sample is (x − shift) / scale.
    """

    input_dtype = torch.float64

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        shape: list[int],
        recipe: dict[str, Any],
        parameterisation: str,
        data_variance: float,
        log_snr: list[float],
        sample_size: int | list[int] | None = None,
        in_channels: int = 1,
        out_channels: int = 1,
        normalisation: list[float] | None = None,
    ) -> None:
        super().__init__()
        network = build(1, tuple(shape), Recipe(**recipe))
        self.denoiser = parameterisations[parameterisation](network, data_variance)

    def forward(
        self, sample: Tensor, timestep: Tensor | float, class_labels: None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """ε of samples (B, *shape) at one step or at (B,) steps, in the type of the samples."""
        step = torch.as_tensor(timestep, dtype=torch.float64, device=sample.device).reshape(-1)
        table = torch.tensor(self.config.log_snr, dtype=torch.float64, device=sample.device)
        low = step.floor().long().clamp(0, len(table) - 2)
        log_snr = table[low] + (step - low) * (table[low + 1] - table[low])
        alpha, sigma = torch.sigmoid(log_snr).sqrt()[:, None], torch.sigmoid(-log_snr).sqrt()[:, None]
        kernel = Kernel(alpha, sigma[..., None], 1 / sigma[..., None], alpha / sigma)
        answer = self.denoiser(sample[:, None].double(), kernel).to(sample.dtype)
        return UNet2DOutput(sample=answer) if return_dict else (answer,)
