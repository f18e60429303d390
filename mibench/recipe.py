"""How long and how a model is trained, as a suite says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Recipe"]


class Recipe(BaseModel):
    """A training recipe.

    A field that came after the first records is in a dump only where it differs from its default, so that their keys stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(5000, ge=1, le=10_000_000, description="optimiser steps")
    batch: int = Field(64, ge=1, le=65536, description="samples per step, drawn with replacement")
    learning_rate: float = Field(
        2e-3, gt=0, le=1, description="peak rate of Adam; a warm-up of 2 % of the steps, then cosine decay to 0"
    )
    ema: float = Field(
        0.995, ge=0, lt=1, description="decay of the moving average of the weights; the average is the model"
    )
    time_power: float = Field(
        1.0, ge=1, le=10, description="training times are T (t_min + (1 − t_min) U^time_power), U uniform in [0, 1]"
    )
    log_snr: tuple[float, Annotated[float, Field(gt=0, le=100)]] | None = Field(
        None,
        exclude_if=lambda pair: pair is None,
        description="mean and standard deviation of the log-SNR at the training times, normal within the process' range, "
        "for every process alike (arXiv 2206.00364, table 1); without it times follow time_power",
    )
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    network: Literal["mlp", "relu-mlp", "unet-tiny", "unet-cifar"] = Field(
        "mlp",
        description="a residual MLP; the plain one with ReLU and LayerNorm of arXiv 2509.14225; or a U-Net of one of two "
        "sizes, for images and mels",
    )
    width: int = Field(256, ge=8, le=8192, description="width of an MLP")
    depth: int = Field(3, ge=1, le=64, description="number of blocks or layers of an MLP")
    fourier: int = Field(
        0, ge=0, le=4096, description="random Fourier features of the residual MLP's input, 0 for none"
    )
    fourier_scale: float = Field(
        6.0, gt=0, description="standard deviation of their frequencies, for inputs of unit scale"
    )
    augment: tuple[Literal["flip", "crop"], ...] = Field(
        (),
        exclude_if=lambda names: not names,
        description='how images are varied in training; also written "flip+crop"',
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        le=1000,
        exclude_if=lambda rate: rate == 0,
        description="decoupled weight decay (AdamW, arXiv 1711.05101): each step takes learning rate × this × weight away",
    )
    drop_condition: float = Field(
        0.1,
        ge=0,
        lt=1,
        exclude_if=lambda rate: rate == 0.1,
        description="of data by class: how often a step is not told the class of a sample (arXiv 2207.12598), so that the model "
        "also answers under none",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        exclude_if=lambda name: name == "fp32",
        description="of the network's forward and backward pass in training (autocast); the weights are float32",
    )

    @field_validator("augment", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return tuple(value.split("+")) if isinstance(value, str) else value

    @field_validator("augment")
    @classmethod
    def _ordered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ("flip", "crop") if name in value)
