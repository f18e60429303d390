"""How long and how a model is trained, as a suite says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Recipe"]


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
        augment: how images are varied in training, "flip" and "crop" (``mibench.diffusion.pool``); "flip+crop" is a way to
            write it.
        precision: of the network's forward and backward pass in training, by autocast; weights are float32 in both.

    What came after the first records is in a dump only where it differs from its default, so that their keys stay.
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
    augment: tuple[Literal["flip", "crop"], ...] = Field((), exclude_if=lambda names: not names)
    precision: Literal["fp32", "bf16"] = Field("fp32", exclude_if=lambda name: name == "fp32")

    @field_validator("augment", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return tuple(value.split("+")) if isinstance(value, str) else value

    @field_validator("augment")
    @classmethod
    def _ordered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ("flip", "crop") if name in value)
