"""The default loss and step of a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mibench.diffusion.denoisers import NetworkDenoiser, expand
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.process import Kernel

__all__ = ["clipped_step", "hybrid_score_matching", "noised", "weighted_error"]


def noised(batch: Tensor, kernel: Kernel, eps: Tensor) -> Tensor:
    """u_t = E[:, 0] x + L ε: (B, *item) and (B, n, *item) to (B, n, *item), one time per sample."""
    return torch.einsum("bij,bj...->bi...", kernel.factor, eps) + expand(kernel.mean_coef, eps) * batch[:, None]


def weighted_error(denoiser: NetworkDenoiser, u: Tensor, kernel: Kernel, target: Tensor) -> Tensor:
    """‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, the mean over (B, n, *item) states with targets (B, *item)."""
    error = (denoiser(u, kernel) - target).flatten(1).square().mean(1)
    loss: Tensor = (error / denoiser.c_out(kernel).square()).mean()
    return loss


def hybrid_score_matching(model: Model, batch: Tensor, kernel: Kernel, generator: torch.Generator) -> Tensor:
    """Hybrid score matching, E_t ‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, auxiliaries marginalised.

    2112.07068, eq. 8, weighted as in 2206.00364: the network's own error has the same weight at all times. Where the noise
    hides the data c_out goes to 0, and an unweighted loss would leave the coarse structure of the samples untrained.
    """
    eps = torch.randn(len(batch), *model.state_shape, generator=generator, device=model.device).double()
    return weighted_error(network_of(model), noised(batch, kernel, eps), kernel, eps[:, -1])


def clipped_step(model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Backpropagate, clip the norm of the gradient, step."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network_of(model).parameters(), clip, foreach=True)
    optimizer.step()
