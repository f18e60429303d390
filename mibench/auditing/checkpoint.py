"""A trained model as the audit takes it: a network, its noise levels, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mibench.errors import UsageError
from mibench.kinds import Prediction

__all__ = ["Autoencoder", "Checkpoint", "Function"]

SMALLEST, LARGEST = 1e-14, 1 - 1e-9
"""What ᾱ may be: beyond, a level holds nothing of the data, or no noise."""


class Autoencoder(Protocol):
    """From samples as files give them to those that a network is trained on, and back."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample as files give it, such as (3, 512, 512)."""
        ...

    def encode(self, x: Tensor) -> Tensor:
        """(B, *shape) to (B, *item) float32 on the CPU, for each sample alone."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """(B, *item) to (B, *shape) float32 on the CPU."""
        ...


class Function(nn.Module):
    """A function as a module, for a network that is none."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Any) -> Any:
        return self.function(*given)


@dataclass(frozen=True)
class Checkpoint:
    """A trained diffusion model: at step k a sample is ``alpha[k] x_0 + sigma[k] ε`` with ε ~ N(0, I).

    Give ``alpha_bar``, where alpha = √ᾱ and sigma = √(1 − ᾱ), or both ``alpha`` and ``sigma``.

    Attributes:
        network: maps ((B, *shape) float32, times (B,) float32) to a tensor (B, *shape), or to an object with one as
            ``sample``. Of twice as many channels the first half is taken. A conditional network also takes (B,) labels, or what
            ``captions`` makes of B texts.
        alpha_bar: (N,), falling.
        alpha, sigma: (N,), of falling α / σ.
        prediction: what the network answers with: "epsilon", "sample" (x_0), "v_prediction" (αε − σx_0, of α² + σ² = 1), "flow"
            (ε − x_0), "score" (−ε / σ), or "edm" (F_θ of arXiv 2206.00364, with ``sigma_data``; "edm_v" is −F_θ).
        shape: of one sample, such as (3, 32, 32).
        times: (N,) what the network is given as the time of each step; by default the number of the step.
        input_scale: (N,) factors of the network's input; by default 1.
        sigma_data: of "edm" and "edm_v".
        labels: the number of classes of a conditional network, 0 for an unconditional one.
        empty: the label that stands for no class, None where the network knows none.
        captions: of a network that is given text: maps B texts to numbers (B, …), such as tokens; None for another.
        autoencoder: of a latent model: an object with the ``shape`` of a sample as files give it, ``encode`` from such samples
            (B, *shape) to latents, and ``decode`` back; None where the network is trained on the samples themselves.
        facts: further things to say of it in the report.

    Raises:
        UsageError: where this is no model; the message names the argument.
    """

    network: nn.Module | Callable[..., Any]
    alpha_bar: Any = None
    prediction: Prediction = "epsilon"
    shape: tuple[int, ...] = ()
    alpha: Any = None
    sigma: Any = None
    times: Any = None
    input_scale: Any = None
    sigma_data: float = 0.5
    labels: int = 0
    empty: int | None = None
    captions: Callable[[Sequence[str]], Tensor] | None = None
    autoencoder: Autoencoder | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.network):
            raise UsageError(
                f"checkpoint: network is a {type(self.network).__name__}; give a torch module or a function"
            )
        if not isinstance(self.network, nn.Module):
            object.__setattr__(self, "network", Function(self.network))
        if self.prediction not in get_args(Prediction):
            known = ", ".join(get_args(Prediction))
            raise UsageError(f"checkpoint: unknown prediction {str(self.prediction)[:40]!r}; known: {known}")
        if self.captions is not None and (self.labels or self.empty is not None):
            raise UsageError(
                "checkpoint: give labels or captions; under captions the empty condition is the empty caption"
            )
        if self.empty is not None and not 0 <= self.empty < self.labels:
            raise UsageError(f"checkpoint: the empty label {self.empty} is none of the {self.labels} labels")
        shape = tuple(self.shape)
        if not shape or not all(isinstance(side, int) and side > 0 for side in shape):
            raise UsageError(f"checkpoint: shape {self.shape!r}: give the shape of one sample, such as (3, 32, 32)")
        if (self.alpha_bar is None) == (self.alpha is None and self.sigma is None):
            raise UsageError("checkpoint: give alpha_bar, or alpha and sigma")
        if self.alpha_bar is not None:
            level = _numbers(self.alpha_bar, "alpha_bar")
            alpha, sigma = np.sqrt(level.clip(0)), np.sqrt((1 - level).clip(0))
        else:
            alpha, sigma = _numbers(self.alpha, "alpha"), _numbers(self.sigma, "sigma")
        if len(alpha) != len(sigma) or len(alpha) < 4:
            raise UsageError(
                f"checkpoint: {len(alpha)} values of alpha and {len(sigma)} of sigma; 4 steps are the least"
            )
        level = self.levels(alpha, sigma)
        if not (np.diff(level) < 0).all():
            raise UsageError("checkpoint: the noise must grow from step to step (alpha_bar must fall)")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "sigma", sigma)
        for name, default in (("times", np.arange(len(alpha))), ("input_scale", np.ones(len(alpha)))):
            given = getattr(self, name)
            values = _numbers(default if given is None else given, name)
            if len(values) != len(alpha):
                raise UsageError(f"checkpoint: {len(values)} values of {name} for {len(alpha)} steps")
            object.__setattr__(self, name, values)

    @staticmethod
    def levels(alpha: np.ndarray[Any, Any], sigma: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """ᾱ = α² / (α² + σ²) of each step, (N,), within (0, 1)."""
        share: np.ndarray[Any, Any] = alpha**2 / (alpha**2 + sigma**2)
        return share.clip(SMALLEST, LARGEST)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.alpha)

    def empty_condition(self) -> Tensor | None:
        """What the network is given for no condition, (*item); None where it knows none."""
        if self.captions is not None:
            return self.captions([""])[0]
        return None if self.empty is None else torch.tensor(self.empty)

    @property
    def module(self) -> nn.Module:
        """The network."""
        assert isinstance(self.network, nn.Module)
        return self.network


def _numbers(values: Any, name: str) -> np.ndarray[Any, Any]:
    """(N,) finite numbers in float64."""
    try:
        numbers = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"checkpoint: {name} must be a list of numbers") from None
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise UsageError(f"checkpoint: {name} must be a list of finite numbers, one for each step")
    return numbers


def first_half(answer: Any, channels: int) -> Tensor:
    """The tensor of a network's answer; of twice as many channels, which also hold variances, the first half."""
    out = getattr(answer, "sample", answer)
    if not isinstance(out, Tensor):
        raise UsageError(f"the network answers with {type(out).__name__}; it must answer with a tensor")
    return out[:, :channels] if out.shape[1] == 2 * channels else out


def parameters_of(network: nn.Module) -> int:
    """How many numbers a network has."""
    return sum(p.numel() for p in network.parameters())


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type of number that a network is given: its ``input_dtype``, else that of its weights."""
    if isinstance(wanted := getattr(network, "input_dtype", None), torch.dtype):
        return wanted
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
