"""Several networks of one shape as one function: of K times the samples, with K times the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mibench.diffusion.networks import MLP, ReluMLP

__all__ = ["Forward", "side_by_side", "without_vmap"]

Forward = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
"""Of the parameters by name, each (K, …), blocks (K·B, blocks, *item) and log-SNRs (K·B,): the answers (K·B, *item)."""
ROWWISE = (nn.ModuleList, nn.Sequential, nn.Linear, nn.LayerNorm, nn.SiLU, nn.ReLU, nn.Dropout)


def side_by_side(networks: Sequence[nn.Module]) -> Forward:
    """The function of K networks, which gets their parameters anew with each call; their buffers are taken as they are."""
    if without_vmap(networks[0]):
        return _Rowwise(networks)
    buffers = {
        name: torch.stack([network.get_buffer(name) for network in networks]) for name, _ in networks[0].named_buffers()
    }
    base = networks[0]

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        answer: Tensor = torch.func.functional_call(base, (parameters, buffers), inputs)
        return answer

    def forward(parameters: dict[str, Tensor], blocks: Tensor, log_snr: Tensor) -> Tensor:
        parts = (part.view(len(networks), -1, *part.shape[1:]) for part in (blocks, log_snr))
        return torch.vmap(one)(parameters, buffers, *parts).flatten(0, 1)

    return forward


def without_vmap(network: nn.Module) -> bool:
    """Whether it is one of the bundled MLPs, unchanged: the same operations then serve one network and several.

    Then a network's answers and gradients do not depend, on the CPUs tried to the last bit, on how many stand beside it.
    """
    layers = list(network.modules())
    return type(network) in (MLP, ReluMLP) and all(
        (layer is network or type(layer) in ROWWISE) and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in layers
    )


class _Rowwise:
    """A copy of the first network whose linear layers and norms have the weights of all; nothing else tells samples apart."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.network = copy.deepcopy(networks[0]).requires_grad_(False)
        self.layers: dict[str, _Linear | _Norm] = {}
        for name, layer in networks[0].named_modules():
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                self.layers[name] = _Linear() if isinstance(layer, nn.Linear) else _Norm(layer.eps)
                self.network.set_submodule(name, self.layers[name])
        for name, _ in networks[0].named_buffers():
            if name == "frequencies":
                self.network.frequencies = torch.stack([network.get_buffer(name) for network in networks])

    def __call__(self, parameters: dict[str, Tensor], blocks: Tensor, log_snr: Tensor) -> Tensor:
        for name, layer in self.layers.items():
            layer.weight, layer.bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        answer: Tensor = self.network(blocks, log_snr)
        return answer


class _Linear(nn.Module):
    """K linear layers: weight (K, out, in) and bias (K, out)."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(len(self.weight), -1, x.shape[1])
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT).flatten(0, 1)


class _Norm(nn.Module):
    """K layer norms: weight and bias (K, width)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.layer_norm(x, x.shape[1:], eps=self.eps).view(len(self.weight), -1, x.shape[1])
        return torch.addcmul(self.bias[:, None], x, self.weight[:, None]).flatten(0, 1)
