"""A batch of noised members, the default loss, and the default step of a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mibench.diffusion.denoisers import NetworkDenoiser, expand
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.networks import conditioned
from mibench.diffusion.process import Kernel

__all__ = ["NoisedBatch", "clipped_step", "hybrid_score_matching", "noised", "weighted_error"]


@dataclass(frozen=True)
class NoisedBatch:
    """Members with noise, as a training step sees them; B is the number of members times the draws of each.

    Attributes:
        u: (B, n, *item) states, float64.
        target: (B, *item), the noise ε_n that the network is to find in them.
        kernel: the process' kernel at their B times.
        rows: (B,), the member of each state, as an index.
        teachers: models that were trained before, see ``mibench.defenses.Defense.teachers``.
    """

    u: Tensor
    target: Tensor
    kernel: Kernel
    rows: Tensor
    teachers: tuple[Model, ...] = ()


def noised(batch: Tensor, kernel: Kernel, eps: Tensor) -> Tensor:
    """u_t = E[:, 0] x + L ε: (B, *item) and (B, n, *item) to (B, n, *item), one time per sample."""
    return torch.einsum("bij,bj...->bi...", kernel.factor, eps) + expand(kernel.mean_coef, eps) * batch[:, None]


def weighted_error(denoiser: NetworkDenoiser, u: Tensor, kernel: Kernel, target: Tensor) -> Tensor:
    """‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, (B,), of (B, n, *item) states with targets (B, *item)."""
    error = (denoiser(u, kernel) - target).flatten(1).square().mean(1)
    loss: Tensor = error / denoiser.c_out(kernel).square()
    return loss


def hybrid_score_matching(model: Model, batch: NoisedBatch) -> Tensor:
    """Hybrid score matching, ‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, auxiliaries marginalised; (B,).

    2112.07068, eq. 8, weighted as in 2206.00364: the network's own error has the same weight at all times. Where the noise
    hides the data c_out goes to 0, and an unweighted loss would leave the coarse structure of the samples untrained.
    """
    denoiser = network_of(model)
    if (network := conditioned(denoiser)) is not None:
        network.current = network.members[batch.rows]
    return weighted_error(denoiser, batch.u, batch.kernel, batch.target)


def clipped_step(model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Backpropagate, clip the norm of the gradient, step."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network_of(model).parameters(), clip, foreach=True)
    optimizer.step()
