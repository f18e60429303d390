"""How much memory the gradients of a network need."""

from __future__ import annotations

import torch
from torch import Tensor

from mibench.diffusion.denoisers import NetworkDenoiser
from mibench.diffusion.process import Kernel

__all__ = ["bytes_held"]


def bytes_held(denoiser: NetworkDenoiser, u: Tensor, kernel: Kernel) -> int:
    """The bytes that autograd keeps between a forward and a backward pass of states u (B, n, *item), without the weights.

    They are measured: one forward pass, whose answer is dropped.
    """
    weights = {x.untyped_storage().data_ptr() for x in (*denoiser.parameters(), *denoiser.buffers())}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        answer = denoiser(u.detach().requires_grad_(), kernel)
    del answer  # so long all that is kept has a place of its own
    return sum(kept.values())
