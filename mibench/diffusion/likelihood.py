"""The likelihood of a state by the probability-flow ODE."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mibench.diffusion.model import Model
from mibench.diffusion.sampling import extrapolate

__all__ = ["log_density", "probes"]


def probes(model: Model, count: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Vectors that measure the divergence, (K, *item), and the factor their sum is multiplied by.

    Where n·d ≤ 8 they are the d unit vectors (exact); above, ``count`` Rademacher draws (Hutchinson), shared by all samples.
    """
    size = math.prod(model.shape)
    if model.process.order * size <= 8:
        return torch.eye(size, dtype=torch.float64, device=model.device).view(size, *model.shape), 1.0
    draws = torch.randint(0, 2, (count, *model.shape), generator=generator).double() * 2 - 1
    return draws.to(model.device), 1.0 / count


def log_density(model: Model, u: Tensor, vectors: Tensor, weight: float, evaluations: int) -> Tensor:
    """Log p(u) at t_min, in nats (Song et al. 2011.13456, eq. 39), on a fixed grid that is uniform in log t.

    The divergence of the drift is split. Its Gaussian part integrates to d [log det L]; what is left, per dimension
    r = 1 − L_nn ∂ε_n/∂u_n, is smooth, and ∫ ½ b G²/L_nn² r dt is summed by trapezoids in W = log det L − tr(F) τ, whose
    derivative is exactly that weight. The path takes the two-step exponential integrator of sampling.

    Args:
        model: the model.
        u: (B, n, *item) states at t_min.
        vectors: (K, *item) from ``probes``.
        weight: the factor from ``probes``.
        evaluations: network evaluations per state; each is one forward and K vector–Jacobian products.

    Returns:
        (B,), float64. A value depends on no other state of the batch.
    """
    process = model.process
    size = math.prod(model.shape)
    grid = torch.logspace(
        math.log10(process.t_min), math.log10(process.horizon), evaluations, dtype=torch.float64
    ).clamp(process.t_min, process.horizon)
    factor = process.cholesky(grid)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    clock = (log_det - process.F.trace() * process.elapsed(grid)).tolist()
    times = grid.tolist()
    log_snr = [process.kernel(t).log_snr.item() for t in times]
    before, rest_before = None, torch.zeros(())
    total = torch.zeros(len(u), dtype=torch.float64, device=model.device)
    for k, t in enumerate(times):
        eps, products = model.eps_vjp(u, t, vectors)
        divergence = weight * (products * vectors[:, None]).flatten(2).sum((0, 2))
        rest = size - factor[k, -1, -1].item() * divergence
        if k > 0:
            total = total - (rest + rest_before) / 2 * (clock[k] - clock[k - 1])
        rest_before = rest
        if k + 1 < len(times):
            clean = model.clean(u, eps, t)
            u = model.step(u, extrapolate(clean, before, log_snr, k), t, times[k + 1])
            before = clean
    variance = process.prior.to(model.device).view(-1, *[1] * len(model.shape))
    prior = -0.5 * (u.square() / variance + (2 * math.pi * variance).log()).flatten(1).sum(1)
    return prior + total + size * (log_det[-1] - log_det[0]).item()
