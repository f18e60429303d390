"""How long and how a model is trained, and by which sampler its samples are drawn: part of the suite."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Grid", "Method", "Recipe"]

Method = Literal["multistep", "exponential", "sscs", "euler-maruyama"]
Grid = Literal["uniform", "quadratic", "log-snr"]


class Recipe(BaseModel):
    """A training recipe.

    Attributes:
        steps: optimiser steps.
        batch: samples per step, drawn with replacement.
        learning_rate: peak rate of Adam; cosine decay to 0 after a warm-up of 2 % of the steps.
        ema: decay of the exponential moving average of the weights; the average is the model.
        time_power: training times are T (t_min + (1 − t_min) U^power), U uniform.
        log_snr: mean and standard deviation of the log-SNR at the training times, normal within the process' range (2206.00364,
            table 1, for every process alike); None for times by ``time_power``.
        clip: largest norm of the gradient.
        network: a residual MLP, or a U-Net of one of two sizes for images and mels.
        width, depth: of the residual MLP.
        fourier: random Fourier features of the input, 0 for none.
        fourier_scale: standard deviation of their frequencies, for inputs of unit scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(5000, ge=1, le=10_000_000)
    batch: int = Field(64, ge=1, le=65536)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    ema: float = Field(0.995, ge=0, lt=1)
    time_power: float = Field(1.0, ge=1, le=10)
    log_snr: tuple[float, Annotated[float, Field(gt=0, le=100)]] | None = Field(
        None, exclude_if=lambda pair: pair is None
    )
    clip: float = Field(1.0, gt=0)
    network: Literal["mlp", "unet-tiny", "unet-cifar"] = "mlp"
    width: int = Field(256, ge=8, le=8192)
    depth: int = Field(3, ge=1, le=64)
    fourier: int = Field(0, ge=0, le=4096)
    fourier_scale: float = Field(6.0, gt=0)
