"""Sampling: a two-step exponential integrator of the probability-flow ODE."""

from __future__ import annotations

import torch
from torch import Tensor

from mibench.diffusion.model import Model

__all__ = ["extrapolate", "sample"]


def extrapolate(clean: Tensor, before: Tensor | None, grid: list[float], k: int) -> Tensor:
    """The estimate of q_0 half a step ahead of grid[k] in log-SNR, from the two latest ones (DPM-Solver++ 2M, 2211.01095).

    Args:
        clean: the estimate at grid[k].
        before: the one at grid[k − 1], None at the first step.
        grid: log-SNR at the times of the steps.
        k: the step from grid[k] to grid[k + 1].
    """
    if before is None:
        return clean
    ratio = (grid[k + 1] - grid[k]) / (grid[k] - grid[k - 1])
    return clean + ratio / 2 * (clean - before)


@torch.no_grad()
def sample(model: Model, count: int, generator: torch.Generator, evaluations: int = 50) -> Tensor:
    """Draw data from a model.

    Args:
        model: the model.
        count: how many.
        generator: a CPU generator; the same one gives the same samples on every device, up to rounding.
        evaluations: network evaluations per sample; times are quadratic in their index, from the horizon to t_min.

    Returns:
        (count, *item), float64: the estimate of q_0 at t_min.
    """
    process = model.process
    u = torch.randn(count, process.order, *model.shape, generator=generator, dtype=torch.float64)
    u = (u * process.prior.sqrt().view(-1, *[1] * len(model.shape))).to(model.device)
    ramp = torch.linspace(1, 0, evaluations, dtype=torch.float64).square()
    times = (process.t_min + (process.horizon - process.t_min) * ramp).tolist()
    log_snr = [process.kernel(t).log_snr.item() for t in times]
    before = None
    for k, t in enumerate(times):
        clean = model.clean(u, model.eps(u, t), t)
        if k + 1 == len(times):
            break
        u = model.step(u, extrapolate(clean, before, log_snr, k), t, times[k + 1])
        before = clean
    return clean
