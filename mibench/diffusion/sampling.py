"""Sampling: one signature for every integrator, process and order, with a budget of network evaluations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from mibench.diffusion.exact import exact
from mibench.diffusion.guidance import guided
from mibench.diffusion.model import Model
from mibench.diffusion.process import LinearSDE
from mibench.errors import Diverged
from mibench.kinds import Grid, Method

__all__ = ["FiniteCheck", "check_finite", "extrapolate", "integrate", "sample", "time_grid"]

Noise = Callable[..., Tensor]


def extrapolate(x0: Tensor, before: Tensor | None, grid: list[float], k: int) -> Tensor:
    """The estimate of q_0 half a step ahead of grid[k] in log-SNR, from the two latest ones (DPM-Solver++ 2M, 2211.01095).

    Args:
        x0: the estimate at grid[k].
        before: the one at grid[k − 1], None at the first step.
        grid: log-SNR at the times of the steps.
        k: the step from grid[k] to grid[k + 1].
    """
    if before is None:
        return x0
    ratio = (grid[k + 1] - grid[k]) / (grid[k] - grid[k - 1])
    return x0 + ratio / 2 * (x0 - before)


def time_grid(process: LinearSDE, count: int, grid: Grid = "quadratic") -> list[float]:
    """Times from the horizon down to t_min: uniform, quadratic in their index, or uniform in the log-SNR.

    Raises:
        ValueError: for fewer than 2 times or an unknown grid.
    """
    if count < 2:
        raise ValueError(f"a grid needs at least 2 times, got {count}")
    if grid not in get_args(Grid):
        raise ValueError(f"unknown grid {grid!r}; known: {', '.join(get_args(Grid))}")
    ramp = torch.linspace(1, 0, count, dtype=torch.float64)
    if grid == "log-snr":
        first, last = process.log_snr_range
        times = process.time_at(first + (last - first) * ramp)
        return [process.horizon, *times[1:-1].tolist(), process.t_min]
    span = process.horizon - process.t_min
    return (process.t_min + span * (ramp if grid == "uniform" else ramp.square())).tolist()


@torch.no_grad()
def integrate(model: Model, u: Tensor, times: list[float], method: Method, noise: Noise) -> tuple[Tensor, Tensor]:
    """Carry states from times[0] down to times[-1], one network evaluation per time.

    - ``multistep``: the probability-flow ODE with the estimate of q_0 extrapolated and the rest solved exactly; order 2.
    - ``exponential``: the same with the estimate frozen (DDIM for VP, 2010.02502); order 1.
    - ``euler-maruyama``: the reverse SDE, du = b [F u − G Gᵀ S_θ] dt + √b G dw̄; weak order 1, the reference.
    - ``sscs``: of 2112.07068, for any process: half a step of the linear SDE with the prior's score, a whole Euler step
      of the difference between the score and the prior's, half a step again; weak order 1.

    Args:
        model: the model.
        u: (B, n, *item) states at times[0].
        times: descending.
        method: the integrator.
        noise: called with a shape, gives standard normal draws of it.

    Returns:
        The estimate of q_0 at the last time, (B, *item), and the state there, (B, n, *item).

    Raises:
        Diverged: naming time and sample, where a state leaves the finite numbers.
        ValueError: for an unknown method, or times that do not descend from T at most and stay above 0.
    """
    if method not in get_args(Method):
        raise ValueError(f"unknown method {method!r}; known: {', '.join(get_args(Method))}")
    inside = len(times) > 0 and model.process.horizon >= times[0] and times[-1] > 0
    if not inside or not all(a > b for a, b in itertools.pairwise(times)):
        raise ValueError("times must descend, from the horizon at most, and stay above 0")
    log_snr = model.process.kernel(torch.tensor(times, dtype=torch.float64)).log_snr.tolist()
    before, finite = None, FiniteCheck()
    for k, (t, after) in enumerate(itertools.pairwise(times)):
        if method == "euler-maruyama":
            u = _euler_maruyama(model, u, t, after, noise)
        elif method == "sscs":
            u = _sscs(model, u, t, after, noise)
        else:
            x0 = model.predict_x0(u, model.eps(u, t), t)
            ahead = extrapolate(x0, before, log_snr, k) if method == "multistep" else x0
            u, before = model.step(u, ahead, t, after), x0
        finite.add(u, after)
    x0 = model.predict_x0(u, model.eps(u, times[-1]), times[-1])
    finite.add(x0, times[-1])
    finite.finish()
    return x0, u


class FiniteCheck:
    """Finds where states leave the finite numbers, at the end: a look at each step would wait for the device."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, Tensor]] = []

    def add(self, values: Tensor, t: float) -> None:
        """Take note of ``values`` (B, …) at a time."""
        self._seen.append((t, values.flatten(1).isfinite().all(1)))

    def finish(self) -> None:
        """Raise Diverged for the first time at which a row was not finite, naming the first such row by its index."""
        finite = torch.stack([rows for _, rows in self._seen])
        if not finite.all():
            k = int((~finite.all(1)).nonzero()[0, 0])
            raise Diverged(int((~finite[k]).nonzero()[0, 0]), self._seen[k][0])


def check_finite(values: Tensor, t: float, offset: int = 0) -> None:
    """Raise Diverged where a row of ``values`` (B, …) is not finite, naming it by its index plus ``offset``."""
    finite = values.flatten(1).isfinite().all(1)
    if not finite.all():
        raise Diverged(offset + int((~finite).nonzero()[0, 0]), t)


def _score(model: Model, u: Tensor, t: float) -> Tensor:
    """∇_{u_n} log p(u) = −ε_n / L_nn, (B, *item)."""
    return -model.eps(u, t) / model.kernel(t).factor[0, -1, -1]


def _euler_maruyama(model: Model, u: Tensor, t: float, after: float, noise: Noise) -> Tensor:
    process = model.process
    start, end = process.elapsed(torch.tensor([t, after], dtype=torch.float64)).tolist()
    h, strength = start - end, process.G[-1].item()
    moved: Tensor = u - h * torch.einsum("ij,bj...->bi...", process.F.to(u, non_blocking=True), u)
    moved[:, -1] += h * strength**2 * _score(model, u, t) + h**0.5 * strength * noise(*u[:, -1].shape)
    return moved


def _sscs(model: Model, u: Tensor, t: float, after: float, noise: Noise) -> Tensor:
    process, middle = model.process, (t + after) / 2
    clock = process.elapsed(torch.tensor([t, middle, after], dtype=torch.float64)).tolist()
    strength = process.G[-1].item() ** 2
    drift = -process.F
    drift[-1, -1] -= strength / process.prior[-1]

    def linear(u: Tensor, span: float) -> Tensor:
        law = exact(tuple(map(tuple, drift.tolist())), tuple(process.G.tolist()), (0.0,) * process.order, span)
        both = torch.tensor((law.transition, law.factor), dtype=u.dtype)
        E, L = both.to(u.device, non_blocking=True)
        moved: Tensor = torch.einsum("ij,bj...->bi...", E, u) + torch.einsum("ij,bj...->bi...", L, noise(*u.shape))
        return moved

    u = linear(u, clock[0] - clock[1])
    u[:, -1] += (clock[0] - clock[2]) * strength * (_score(model, u, middle) + u[:, -1] / process.prior[-1].item())
    return linear(u, clock[1] - clock[2])


def sample(
    model: Model,
    count: int,
    generator: torch.Generator,
    evaluations: int = 50,
    method: Method = "multistep",
    grid: Grid = "quadratic",
    guidance: float = 1.0,
) -> Tensor:
    """Draw data from a model, beginning with the prior at the horizon.

    Args:
        model: the model.
        count: how many.
        generator: a CPU generator; the same one gives the same samples on every device, up to rounding.
        evaluations: network evaluations per sample.
        method: the integrator, see ``integrate``.
        grid: how the times lie between horizon and t_min.
        guidance: the scale of classifier-free guidance, see ``mibench.diffusion.guidance``; 1 for none.

    Returns:
        (count, *item), float64: the estimate of q_0 at t_min.

    Raises:
        Diverged: naming time and sample, where a state leaves the finite numbers.
        NotApplicable: where guidance is asked for and the model knows no empty condition.
    """
    process, model = model.process, model if guidance == 1 else guided(model, guidance)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(model.device, non_blocking=True)

    u = noise(count, *model.state_shape)
    u = u * process.prior.sqrt().to(model.device).view(-1, *[1] * len(model.shape))
    return integrate(model, u, time_grid(process, evaluations, grid), method, noise)[0]
