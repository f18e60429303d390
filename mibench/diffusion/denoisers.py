"""Denoisers, which predict ε_n of a state: a network in one of two parameterisations, or the exact one of a finite set."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor, nn

from mibench.diffusion.process import Kernel

__all__ = [
    "Denoiser",
    "ExactDenoiser",
    "NetworkDenoiser",
    "PlainDenoiser",
    "SufficientDenoiser",
    "affine_form",
    "expand",
    "parameterisations",
]


class Denoiser(Protocol):
    """Predicts ε_n (B, *item), float64, of states (B, n, *item), float64, under a kernel of B times or of one."""

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor: ...


def expand(coefficients: Tensor, like: Tensor) -> Tensor:
    """Coefficients (B, …) with as many trailing axes of size 1 as it takes to multiply ``like`` (B, …, *item)."""
    return coefficients.reshape(coefficients.shape + (1,) * (like.dim() - coefficients.dim()))


class NetworkDenoiser(nn.Module):
    """The common part of the two parameterisations.

    Args:
        network: maps ((B, blocks, *item) float32, log-SNR (B,)) to (B, *item).
        data_variance: mean square s² of the data, which scales the network's input to unit variance.

    Attributes:
        data_variance: as given, so that no one has to take it from a device.
        s2: s² as a tensor, so that models that train together can be stacked. It is not part of the saved state.
    """

    s2: Tensor

    def __init__(self, network: nn.Module, data_variance: float) -> None:
        super().__init__()
        self.network = network
        self.data_variance = data_variance
        self.register_buffer("s2", torch.tensor(data_variance, dtype=torch.float64), persistent=False)

    @staticmethod
    def input_blocks(order: int) -> int:
        """How many blocks the network sees for a process of this order."""
        raise NotImplementedError

    def c_out(self, kernel: Kernel) -> Tensor:
        """c_out (B,), the standard deviation of what the network has to predict."""
        raise NotImplementedError

    def run_network(self, blocks: Tensor, kernel: Kernel) -> Tensor:
        """F_θ of scaled blocks (B, blocks, *item), in float64."""
        answer: Tensor = self.network(blocks.float(), kernel.log_snr.float().expand(len(blocks)))
        return answer.double()


class PlainDenoiser(NetworkDenoiser):
    """The n blocks concatenated, each scaled to unit variance: what the papers train.

    The network corrects the best estimate that is linear in u_n (the "mixed score" of 2112.07068, B.4; for n = 1 the
    preconditioning of 2206.00364): ε_n = L_nn u_n / Var u_n + c_out F_θ, with c_out² = 1 − L_nn² / Var u_n.
    """

    @staticmethod
    def input_blocks(order: int) -> int:
        """See NetworkDenoiser."""
        return order

    def variance(self, kernel: Kernel) -> Tensor:
        """Var u_j per dimension, (B, n)."""
        return kernel.mean_coef.square() * self.s2 + kernel.factor.square().sum(-1)

    def c_out(self, kernel: Kernel) -> Tensor:
        """See NetworkDenoiser."""
        return (1 - kernel.factor[:, -1, -1].square() / self.variance(kernel)[:, -1]).sqrt()

    def forward(self, u: Tensor, kernel: Kernel) -> Tensor:
        variance = self.variance(kernel)
        answer = self.run_network(u * expand(variance.rsqrt(), u), kernel)
        skip = kernel.factor[:, -1, -1] / variance[:, -1]
        return expand(skip, answer) * u[:, -1] + expand(self.c_out(kernel), answer) * answer


class SufficientDenoiser(NetworkDenoiser):
    """The network is given only y, the sufficient statistic of q_0; the rest is algebra (exact for the ideal network).

    With u' = L⁻¹ u_t, a = L⁻¹ E[:, 0] and â = a/|a|: y = â·u' / √(1 + |a|² s²) and
    E[ε_n | u_t] = â_n E[ε' | y] + [u' − â (â·u')]_n, so the network is VP's at the same signal-to-noise ratio,
    preconditioned as in 2206.00364: ε' = y / √(1 + |a|² s²) + |a| s / √(1 + |a|² s²) F_θ.
    """

    @staticmethod
    def input_blocks(order: int) -> int:
        """See NetworkDenoiser."""
        return 1

    def c_out(self, kernel: Kernel) -> Tensor:
        """See NetworkDenoiser."""
        squares = kernel.whitened_mean.square()
        power = squares.sum(-1) * self.s2
        return squares[:, -1].div(squares.sum(-1)).mul(power / (1 + power)).sqrt()

    def forward(self, u: Tensor, kernel: Kernel) -> Tensor:
        size = kernel.whitened_mean.norm(dim=-1, keepdim=True)
        direction = kernel.whitened_mean / size
        along = torch.einsum("bj,bji->bi", direction, kernel.inverse)
        last = direction[:, -1:]
        beside = kernel.inverse[:, -1] - last * along
        power = size.square() * self.s2
        block = (u * expand(along, u)).sum(1, keepdim=True)
        y = block * expand((1 + power).rsqrt(), block)
        answer = self.run_network(y, kernel)
        skip, out = (1 + power[:, 0]).rsqrt(), (power / (1 + power))[:, 0].sqrt()
        noise = y[:, 0] * expand(skip, answer) + expand(out, answer) * answer
        return expand(last[:, 0], noise) * noise + (u * expand(beside, u)).sum(1)


def affine_form(denoiser: NetworkDenoiser, kernel: Kernel) -> Tensor:
    """What the network sees and is to answer, as a linear map of noise and sample: (B, blocks + 1, n + 1), float64.

    At u_t = E[:, 0] x + L ε the denoiser is ε_n = r(u_t) + c F_θ(s(u_t)), r and s linear, so that the weighted loss
    ‖ε_θ(u_t, t) − ε_n‖² / c_out² is ‖F_θ(s(u_t)) − (ε_n − r(u_t)) / c‖². Rows: the blocks of s(u_t), then (ε_n − r(u_t)) / c.
    Columns: ε_1 … ε_n, then x.
    """
    seen: list[Tensor] = []

    def answering(value: float, u: Tensor) -> Tensor:
        """Its answer where the network always says the same."""

        def run_network(blocks: Tensor, kernel: Kernel) -> Tensor:
            seen.append(blocks)
            return torch.full_like(blocks[:, 0], value)

        probe = copy.copy(denoiser)
        probe.run_network = run_network  # type: ignore[method-assign]
        answer: Tensor = probe(u, kernel)
        return answer

    units = torch.cat([kernel.factor, kernel.mean_coef[..., None]], dim=-1)  # u_t of every unit of (ε, x)
    rest, slope = answering(0.0, units), answering(1.0, torch.zeros_like(units))[:, :1]
    target = -rest
    target[:, -2] += 1  # ε_n
    return torch.cat([seen[0], (target / slope)[:, None]], dim=1)


parameterisations: dict[str, type[NetworkDenoiser]] = {"plain": PlainDenoiser, "sufficient": SufficientDenoiser}


LOG_WEIGHT_ERROR = 1e-10
"""The largest error of a log-weight of the exact model that a faster product may make."""


def _log_weights(x: Tensor, power: Tensor, points: Tensor) -> Tensor:
    """−½ power ‖x − x_i‖² up to a constant of each row, (B, M), of (B, d), (B, 1) and (M, d).

    It is linear in x, so that a matrix product gives it and its gradient. Where the power is so large that the rounding of
    that product would count, distances of differences take its place, in which nothing cancels.
    """
    # on a GPU the comparison would have to wait for the device; distances are fast there
    largest = power.max() * (x.detach().square().sum(1).max() * points.square().sum(1).max()).sqrt()
    if x.device.type == "cpu" and torch.finfo(x.dtype).eps * points.shape[1] ** 0.5 * largest < LOG_WEIGHT_ERROR:
        return power * (x @ points.T - points.square().sum(1) / 2)
    here = x.detach()
    distances = torch.cdist(here, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    gradient = power * ((x - here) @ points.T) if x.requires_grad else 0  # its value is 0
    return gradient - power * distances / 2


class ExactDenoiser:
    """The optimal denoiser of a finite set: u_t is a mixture of Gaussians around E[:, 0] x_i.

    ε*_n = [L⁻¹ (u_t − E[:, 0] x̂)]_n with x̂ = Σ_i softmax_i(−½ ‖L⁻¹ (u_t − E[:, 0] x_i)‖²) x_i; up to a constant the
    exponent is −½ |a|² ‖â·u'/|a| − x_i‖².

    Args:
        points: (M, *item), the set.
    """

    def __init__(self, points: Tensor) -> None:
        self.points: Tensor = points.flatten(1).double()
        self.data_variance = self.points.square().mean().item()

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        flat = u.flatten(2)
        power = kernel.whitened_mean.square().sum(-1, keepdim=True)
        weights = torch.einsum("bj,bji->bi", kernel.whitened_mean, kernel.inverse) / power
        estimate = (flat * weights[..., None]).sum(1)
        mean = torch.softmax(_log_weights(estimate, power, self.points), dim=-1) @ self.points
        residual = flat - kernel.mean_coef[..., None] * mean[:, None]
        return (residual * kernel.inverse[:, -1, :, None]).sum(1).view(u.shape[0], *u.shape[2:])
