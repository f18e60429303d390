"""Gradients of single members, clipped and added up: the part of DP-SGD that bounds what one member can change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from mibench.errors import UsageError

__all__ = ["clipped_sum"]


class _Loss(nn.Module):
    """A loss of a module as a module of its own, so that the parameters can be replaced for a call."""

    def __init__(self, loss: Callable[..., Tensor], module: nn.Module) -> None:
        super().__init__()
        self.loss = functools.partial(loss)  # a module is not registered a second time
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        mean: Tensor = self.loss(*inputs).mean()
        return mean


def clipped_sum(
    loss: Callable[..., Tensor], module: nn.Module, inputs: Sequence[Tensor], clip: float, chunk: int = 32
) -> tuple[dict[str, Tensor], Tensor]:
    """Σ_i g_i min(1, clip / ‖g_i‖), with g_i the gradient of the mean loss of member i (1607.00133, algorithm 1).

    The norm is that of all parameters together. A member with K noised states has one gradient, of the mean over its states,
    which is clipped once (2210.09929, section 3.2). Dropout and other draws from torch's global generator are different for
    each member. Autocast is the caller's.

    Args:
        loss: called as ``loss(*(x[i] for x in inputs))`` for one member i, it gives one loss or K of them, by ``module``
            itself: that very object stands for the parameters.
        module: whose parameters are differentiated; as ``loss`` where its answers are the losses.
        inputs: tensors (B, …), such as (B, K, n, *item) states and (B, K, …) parts of a kernel; B may be 0.
        clip: the largest norm of a member's gradient; ``math.inf`` for none.
        chunk: members at a time. So many gradients are in memory at once, each as large as the parameters.

    Returns:
        The sum by the name of each parameter that requires a gradient, zeros where nothing depends on it; and the mean loss
        over members, 0 where there are none.

    Raises:
        UsageError: where a layer mixes members, as batch normalisation does.
    """
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            name = type(layer).__name__
            raise UsageError(f"{name} mixes members, so no gradient is one member's; use group or layer normalisation")
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    wrapped = _Loss(loss, module)

    def one(parameters: dict[str, Tensor], *given: Tensor) -> Any:
        return functional_call(wrapped, {f"module.{name}": p for name, p in parameters.items()}, given)

    gradients = vmap(grad_and_value(one), in_dims=(None, *[0] * len(inputs)), randomness="different")
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}

    def add(part: Sequence[Tensor]) -> Tensor:
        """Add some members to the total; their losses. What they need is freed before the next ones."""
        each: dict[str, Tensor]
        losses: Tensor
        each, losses = gradients(parameters, *part)
        factor = _factor(list(each.values()), clip)
        for name, gradient in each.items():
            total[name] += torch.tensordot(factor, gradient, 1)
        return losses.detach()

    if not len(inputs[0]):
        return total, torch.zeros((), dtype=inputs[0].dtype, device=inputs[0].device)
    chunks = zip(*(torch.split(x, chunk) for x in inputs), strict=True)
    return total, torch.cat([add(part) for part in chunks]).mean()


def _factor(gradients: list[Tensor], clip: float) -> Tensor:
    """min(1, clip / ‖g_i‖) of gradients (B, *), (B,)."""
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).norm(dim=0)
    factor: Tensor = (clip / norms).clamp(max=1.0)
    return factor
