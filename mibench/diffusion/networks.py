"""Networks: (blocks of one or n states, log-SNR) → one block."""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch import Tensor, nn

from mibench.errors import MibenchError
from mibench.recipe import Recipe

__all__ = [
    "EMPTY",
    "MLP",
    "Conditioned",
    "ReluMLP",
    "TakesConditions",
    "Told",
    "build",
    "conditioned",
    "with_conditions",
]

EMPTY = -1.0
"""Every number of the empty condition."""


class MLP(nn.Module):
    """A residual MLP with sinusoidal features of the log-SNR and, if asked, random Fourier features of the input.

    Small low-dimensional data needs the latter (Tancik et al. 2006.10739): without them nothing is memorised.

    Args:
        blocks: how many states the input concatenates.
        shape: the shape of one state.
        recipe: width, depth and Fourier features.
    """

    def __init__(self, blocks: int, shape: tuple[int, ...], recipe: Recipe) -> None:
        super().__init__()
        size, width = math.prod(shape), recipe.width
        self.shape = shape
        self.octaves: Tensor
        self.frequencies: Tensor
        self.register_buffer("octaves", torch.logspace(-6, 1, 16, base=2.0))
        self.register_buffer("frequencies", recipe.fourier_scale * torch.randn(blocks * size, recipe.fourier))
        self.enter = nn.Linear(blocks * size + 2 * recipe.fourier, width)
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)])
            for _ in range(recipe.depth)
        )
        self.drop = nn.Dropout(0.0)  # which the measure ``dropout`` sets
        self.leave = nn.Linear(width, size)

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        """(B, blocks, *shape) and (B,) → (B, *shape); side by side (K, B, …) → (K, B, *shape)."""
        x = blocks.flatten(-1 - len(self.shape))
        angle = log_snr[..., None] * self.octaves
        time = self.time(torch.cat([angle.sin(), angle.cos()], dim=-1))
        if self.frequencies.shape[-1]:
            phase = x @ self.frequencies
            x = torch.cat([x, phase.sin(), phase.cos()], dim=-1)
        h = self.enter(x)
        for layer in self.layers:
            norm, first, second = cast(nn.ModuleList, layer)
            h = h + second(self.drop(nn.functional.silu(first(norm(h)) + time)))
        answer: Tensor = self.leave(self.drop(nn.functional.silu(h)))
        return answer.view(*log_snr.shape, *self.shape)


class ReluMLP(nn.Module):
    """The fully connected network of 2509.14225: depth × (linear, LayerNorm, ReLU) and a linear layer, nothing added back.

    The paper says neither how it is given the time nor how weights begin: here the time is one number beside the input, a tenth
    of the log-SNR, weights are orthogonal (arXiv 1312.6120) and biases 0. From torch's own weights a rate of 1e-3 trains nothing.

    Args:
        blocks: how many states the input concatenates.
        shape: the shape of one state.
        recipe: width and depth.
    """

    def __init__(self, blocks: int, shape: tuple[int, ...], recipe: Recipe) -> None:
        super().__init__()
        size, width = math.prod(shape), recipe.width
        self.shape = shape
        sizes = [blocks * size + 1, *[width] * recipe.depth]
        hidden = [
            nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU())
            for before, after in itertools.pairwise(sizes)
        ]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, size))
        for layer in self.layers.modules():
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        """(B, blocks, *shape) and (B,) → (B, *shape); side by side (K, B, …) → (K, B, *shape)."""
        x = torch.cat([blocks.flatten(-1 - len(self.shape)), log_snr[..., None] / 10], dim=-1)
        answer: Tensor = self.layers(x)
        return answer.view(*log_snr.shape, *self.shape)


class TakesConditions(nn.Module):
    """A part of a network that is given conditions.

    Attributes:
        members: (M, …), those of the members, for training.
        current: (B, …), those of the states that are asked for.
        has_empty: whether it knows the empty condition, which is ``EMPTY``.
    """

    members: Tensor
    current: Tensor | None = None
    has_empty = False

    def given(self, count: int) -> Tensor:
        """The conditions of ``count`` states.

        Raises:
            MibenchError: where there are other numbers of states and of conditions.
        """
        if self.current is None or len(self.current) != count:
            known = "no" if self.current is None else str(len(self.current))
            raise MibenchError(
                f"a conditional model was asked for {count} states under {known} conditions; make states from samples of the "
                "split with model.at_rest or model.noised, or call model.under"
            )
        return self.current

    @staticmethod
    def is_empty(conditions: Tensor) -> Tensor:
        """Which of (B, *item) conditions are the empty one, (B,)."""
        return conditions.reshape(len(conditions), -1)[:, 0] == EMPTY


class Conditioned(TakesConditions):
    """A network that is given a condition as one block more, scaled to mean 0 and variance 1.

    Args:
        network: maps (B, blocks + 1, *item) and log-SNR (B,) to (B, *item).
        conditions: (M, *item), of the members.
    """

    stackable = False

    def __init__(self, network: nn.Module, conditions: Tensor) -> None:
        super().__init__()
        self.network = network
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", conditions.mean())
        self.register_buffer("scale", conditions.std().clamp(min=1e-6))
        self.register_buffer("members", conditions, persistent=False)

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        """(B, blocks, *item) and (B,) → (B, *item)."""
        block = (self.given(len(blocks))[:, None].to(blocks) - self.shift) / self.scale
        answer: Tensor = self.network(torch.cat([blocks, block], 1), log_snr)
        return answer


class Told(TakesConditions):
    """A network that is given a vector, such as a class as 0s and a 1, as one block more: a linear map of it, learnt with it.

    In training each condition is left out with a probability, and a block of its own takes its place: so the same network
    learns to answer under the empty condition (2207.12598, algorithm 1). In PyTorch's terms that is dropout: it draws from the
    global generator, which a training seeds anew for each step.

    Args:
        network: maps (B, blocks + 1, *item) and log-SNR (B,) to (B, *item).
        conditions: (M, F), of the members.
        shape: of an item.
        left_out: the probability; with 0 there is no empty condition.
    """

    stackable = False

    def __init__(self, network: nn.Module, conditions: Tensor, shape: tuple[int, ...], left_out: float) -> None:
        super().__init__()
        self.network, self.has_empty, self.leave_out = network, left_out > 0, LeaveOut(left_out)
        self.blocks = nn.Parameter(torch.randn(conditions.shape[1], *shape))
        self.empty = nn.Parameter(torch.zeros(shape))
        self.register_buffer("members", conditions, persistent=False)

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        """(B, blocks, *item) and (B,) → (B, *item)."""
        given = self.given(len(blocks)).to(blocks)
        left_out = self.is_empty(given) | self.leave_out(torch.ones_like(log_snr)).eq(0)
        given = given if given.dim() > 1 else given[:, None].expand(-1, len(self.blocks))
        block = torch.tensordot(given, self.blocks, 1)
        block = torch.where(left_out.view(-1, *[1] * self.empty.dim()), self.empty, block)
        answer: Tensor = self.network(torch.cat([blocks, block[:, None]], 1), log_snr)
        return answer


class LeaveOut(nn.modules.dropout._DropoutNd):
    """Dropout of whole conditions; no ``nn.Dropout``, of which the measure ``dropout`` sets the share."""

    def forward(self, kept: Tensor) -> Tensor:
        """(B,) ones, in training some of them as 0."""
        return nn.functional.dropout(kept, self.p, self.training)


def with_conditions(network: nn.Module, conditions: Tensor, shape: tuple[int, ...], left_out: float) -> nn.Module:
    """A network of one block more under conditions (M, *item), of the members: of an item's shape, or vectors (M, F).

    Args:
        network: maps (B, blocks + 1, *item) and log-SNR (B,) to (B, *item).
        conditions: see above.
        shape: of an item.
        left_out: the probability with which a vector is left out in training.
    """
    if conditions.shape[1:] == shape:
        return Conditioned(network, conditions)
    return Told(network, conditions, shape, left_out)


def conditioned(network: object) -> TakesConditions | None:
    """The part of a network that takes conditions, None without."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    return next((module for module in modules if isinstance(module, TakesConditions)), None)


def build(blocks: int, shape: tuple[int, ...], recipe: Recipe) -> nn.Module:
    """The network that a recipe names."""
    if recipe.network == "mlp":
        return MLP(blocks, shape, recipe)
    if recipe.network == "relu-mlp":
        return ReluMLP(blocks, shape, recipe)
    from mibench.diffusion.unet import UNet

    return UNet(blocks, shape, recipe.network)
