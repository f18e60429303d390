"""Several networks of one shape as one function: of K batches, with K times the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mibench.diffusion.networks import MLP, ReluMLP

__all__ = ["laid_out", "side_by_side", "without_vmap"]

ROWWISE = (nn.ModuleList, nn.Sequential, nn.Linear, nn.LayerNorm, nn.SiLU, nn.ReLU, nn.Dropout)


def without_vmap(network: nn.Module) -> bool:
    """Whether it is one of the bundled MLPs, unchanged: the same operations then serve one network and several.

    Then a network's answers and gradients do not depend, on the CPUs tried to the last bit, on how many stand beside it.
    """
    layers = list(network.modules())
    return type(network) in (MLP, ReluMLP) and all(
        (layer is network or type(layer) in ROWWISE) and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in layers
    )


def laid_out(network: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network by name, as views in the layout in which ``side_by_side`` takes them."""
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    if not without_vmap(network):
        return parameters
    return {name: p.T if p.dim() == 2 else p[None] for name, p in parameters.items()}


def side_by_side(networks: Sequence[nn.Module], parts: dict[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of K networks: blocks (K, B, blocks, *item) and log-SNRs (K, B) to answers (K, B, *item).

    Args:
        networks: of one shape; their buffers are taken as they are.
        parts: their parameters by name, (K, …), laid out; the function follows when they change in place.
    """
    buffers = {
        name: torch.stack([network.get_buffer(name) for network in networks]) for name, _ in networks[0].named_buffers()
    }
    if without_vmap(networks[0]):
        network = copy.deepcopy(networks[0])
        for name, layer in networks[0].named_modules():
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                kind = _Linear if isinstance(layer, nn.Linear) else _Norm
                network.set_submodule(name, kind(parts[f"{name}.weight"], parts[f"{name}.bias"]))
        for name, buffer in buffers.items():
            setattr(network, name, buffer if buffer.dim() > 2 else buffer[0])
        return network

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        answer: Tensor = torch.func.functional_call(networks[0], (parameters, buffers), inputs)
        return answer

    every = torch.vmap(one)
    return lambda blocks, log_snr: every(parts, buffers, blocks, log_snr)


class _Linear(nn.Module):
    """K linear layers: weight (K, in, out) and bias (K, 1, out)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class _Norm(_Linear):
    """K layer norms: weight and bias (K, 1, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, nn.functional.layer_norm(x, x.shape[-1:]), self.weight)
