"""Likelihood: of a state by the probability-flow ODE, of a sample by the evidence lower bound (ELBO)."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mibench.diffusion.model import Model
from mibench.diffusion.process import LinearSDE
from mibench.diffusion.sampling import FiniteCheck, check_finite
from mibench.errors import MibenchError

__all__ = ["elbo", "log_density", "probes"]

GAUSS = np.polynomial.legendre.leggauss(5)
MEMORY = 3  # Adams–Bashforth's order
MOST_STEPS = 10_000


def probes(model: Model, count: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Vectors that measure the divergence, (K, *item), and the factor their sum is multiplied by.

    Where n·d ≤ 8 they are the d unit vectors (exact); above, ``count`` Rademacher draws (Hutchinson), shared by all samples.
    """
    size = math.prod(model.shape)
    if model.process.order * size <= 8:
        return torch.eye(size, dtype=torch.float64, device=model.device).view(size, *model.shape), 1.0
    draws = torch.randint(0, 2, (count, *model.shape), generator=generator).double() * 2 - 1
    return draws.to(model.device), 1.0 / count


def log_density(
    model: Model, u: Tensor, vectors: Tensor, weight: float, evaluations: int, tolerance: float = 0.0
) -> Tensor:
    """Log p(u) at t_min, in nats (Song et al. 2011.13456, eq. 39): log π(u_T) + ∫ div dt along the probability-flow ODE.

    The ODE of Gaussian data with the model's ``data_variance`` r is solved exactly; left to integrate is what differs:
    δq = q̂_0 − r aᵀL⁻¹u / (1 + r |a|²) and its divergence. On the fixed grid δq is a polynomial of the grid's index
    through its three latest values (Adams–Bashforth), against the exact course of its coefficient.

    Args:
        model: the model.
        u: (B, n, *item) states at t_min.
        vectors: (K, *item) from ``probes``.
        weight: the factor from ``probes``.
        evaluations: network evaluations per state, at least 2; each is one forward and K vector–Jacobian products.
        tolerance: where above 0, steps are chosen instead, for each state by itself, to this relative and absolute
            error (Dormand–Prince 5(4), by torchdiffeq); ``evaluations`` then plays no part.

    Returns:
        (B,), float64. A value depends on no other state of the batch.

    Raises:
        Diverged: naming time and sample, where a state leaves the finite numbers.
        MibenchError: where adaptive steps do not come to an end.
        ValueError: for fewer than 2 evaluations, or a tolerance outside [0, 1).
    """
    if evaluations < 2 or not 0 <= tolerance < 1:
        raise ValueError(
            f"needs evaluations of at least 2 and a tolerance in [0, 1), got {evaluations} and {tolerance}"
        )
    reference = model.process.marginal(model.data_variance)
    if tolerance > 0:
        paths = [_adaptive(model, reference, state[None], vectors, weight, tolerance, k) for k, state in enumerate(u)]
        end, rest = (torch.cat(parts) for parts in zip(*paths, strict=True))
    else:
        end, rest = _fixed(model, _path(model.process, reference, evaluations), u, vectors, weight)
    variance = model.process.prior.to(model.device).view(-1, *[1] * len(model.shape))
    prior = -0.5 * (end.square() / variance + (2 * math.pi * variance).log()).flatten(1).sum(1)
    first, last = (reference.kernel(t).factor[0].diagonal().log().sum().item() for t in _ends(model.process))
    return prior - rest + math.prod(model.shape) * (last - first)


def _ends(process: LinearSDE) -> tuple[float, float]:
    return process.t_min, process.horizon


def _fine(process: LinearSDE) -> Tensor:
    first, last = _ends(process)
    return torch.logspace(math.log10(first), math.log10(last), 4001, dtype=torch.float64).clamp(first, last)


def _remainder(model: Model, u: Tensor, t: float, vectors: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """δq (B, *item) and its divergence by u_n, times L_nn / a_n, (B,)."""
    eps, products = model.eps_vjp(u, t, vectors)
    kernel, size = model.kernel(t), math.prod(model.shape)
    power = kernel.whitened_mean[0].square().sum() * model.data_variance
    gain = model.data_variance / (1 + power)
    guess = gain * torch.einsum("i,ij,bj...->b...", kernel.whitened_mean[0], kernel.inverse[0], u)
    divergence = weight * (products * vectors[:, None]).flatten(2).sum((0, 2))
    last, signal = kernel.factor[0, -1, -1], kernel.whitened_mean[0, -1]
    rest = (size - last * divergence) / signal.square() - size * gain
    return model.predict_x0(u, eps, t) - guess, rest


# ── the fixed grid ────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Path:
    """What the fixed grid needs beside the network, in coordinates c that stand still on Gaussian data: u = C(t) c.

    Attributes:
        times: N of them, from t_min to the horizon.
        frames: (N, n, n), C.
        start: (n, n), the inverse of the first frame.
        drive: (N − 1, MEMORY, n), by how much c moves in a step per unit of δq now, one step ago, two steps ago.
        weights: (N,), of the divergence in its integral.
    """

    times: list[float]
    frames: Tensor
    start: Tensor
    drive: Tensor
    weights: list[float]


@functools.lru_cache(maxsize=4)
def _path(process: LinearSDE, reference: LinearSDE, evaluations: int) -> _Path:
    """A grid uniform in log t − 2 tanh(log-SNR / 4), denser where the posterior of q_0 turns from one to the other."""
    from scipy.interpolate import CubicSpline  # here, as it takes a third of a second and most commands never need it

    fine = _fine(process)
    clock = (fine.log() - 2 * (process.tabulated(fine).log_snr / 4).tanh()).numpy()
    index = np.arange(evaluations)
    course = CubicSpline((clock - clock[0]) / (clock[-1] - clock[0]) * index[-1], fine.log().numpy())
    places = np.append((index[:-1, None] + np.append(0.0, (1 + GAUSS[0]) / 2)).ravel(), index[-1])
    times = np.exp(course(places)).clip(*_ends(process)).tolist()
    times[0], times[-1] = _ends(process)
    stops = torch.tensor(times, dtype=torch.float64)
    turns = [torch.eye(process.order, dtype=torch.float64)]
    for a, b in itertools.pairwise(times):
        turns.append(reference.rotation(a, b) @ turns[-1])
    turn, kernel, own = torch.stack(turns), reference.kernel(stops), process.kernel(stops)
    # −½ C⁻¹ G Gᵀ_n b (a_n / L_nn) and, for the divergence, ½ b G_n² (a_n / L_nn)², per step of the grid
    pace = process.rate(stops) * stops * torch.from_numpy(course(places, 1))
    weight = 0.5 * process.G[-1] ** 2 * pace * own.whitened_mean[:, -1] / own.factor[:, -1, -1]
    force = -(weight / kernel.factor[:, -1, -1])[:, None] * turn[:, -1]
    inner = force[:-1].view(evaluations - 1, -1, process.order)[:, 1:]
    drive = torch.zeros(evaluations - 1, MEMORY, process.order, dtype=torch.float64)
    for k in range(evaluations - 1):
        known = np.arange(k, max(-1, k - MEMORY), -1)
        for j in range(len(known)):
            others = np.delete(known, j)
            lagrange = np.prod([(k + (1 + GAUSS[0]) / 2 - i) / (known[j] - i) for i in others], axis=0)
            drive[k, j] = torch.from_numpy(GAUSS[1] / 2 * lagrange) @ inner[k]
    stride = len(GAUSS[0]) + 1
    quadrature = CubicSpline(index, np.eye(evaluations)).integrate(0, index[-1])
    weights = torch.from_numpy(quadrature) * (weight * own.whitened_mean[:, -1] / own.factor[:, -1, -1])[::stride]
    frames = kernel.factor @ turn
    return _Path(times[::stride], frames[::stride], kernel.inverse[0], drive, weights.tolist())


def _fixed(model: Model, path: _Path, u: Tensor, vectors: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """The state at the horizon and the integral of the remaining divergence."""
    c = torch.einsum("ij,bj...->bi...", path.start.to(model.device), u)
    rest = torch.zeros(len(u), dtype=torch.float64, device=model.device)
    frames, drive = path.frames.to(model.device), path.drive.to(model.device)
    known: list[Tensor] = []
    finite = FiniteCheck()
    for k, t in enumerate(path.times):
        u = torch.einsum("ij,bj...->bi...", frames[k], c)
        difference, divergence = _remainder(model, u, t, vectors, weight)
        finite.add(torch.cat([difference.flatten(1), divergence[:, None]], 1), t)
        rest = rest + path.weights[k] * divergence
        known = [difference, *known[: MEMORY - 1]]
        if k + 1 < len(path.times):
            for push, value in zip(drive[k], known, strict=False):
                c = c + torch.einsum("i,b...->bi...", push, value)
    finite.finish()
    return u, rest


# ── steps of its own for each state ───────────────────────────────────────────────────────────────────────────────
def _adaptive(
    model: Model, reference: LinearSDE, u: Tensor, vectors: Tensor, weight: float, tolerance: float, index: int
) -> tuple[Tensor, Tensor]:
    """The same for one state, in log t: whitened by the reference, u = L z, the ODE turns z and pushes its last block."""
    process = model.process
    first, last = _ends(process)

    def course(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        time = x.exp().clamp(first, last).cpu()[None]
        own, kernel = (sde.tabulated(time).to(model.device) for sde in (process, reference))
        factor, inverse = kernel.factor[0], kernel.inverse[0]
        u = torch.einsum("ij,bj...->bi...", factor, state[0])
        difference, divergence = _remainder(model, u, time.item(), vectors, weight)
        check_finite(torch.cat([difference.flatten(1), divergence[:, None]], 1), time.item(), index)
        upper = (inverse @ process.F.to(model.device) @ factor).triu(1)
        moved = torch.einsum("ij,bj...->bi...", upper - upper.mT, state[0])
        ratio = own.whitened_mean[0, -1] / own.factor[0, -1, -1]
        force = 0.5 * process.G[-1].item() ** 2 * ratio
        moved[:, -1] -= force / factor[-1, -1] * difference
        pace = (process.rate(time) * time).item()
        return pace * moved, pace * force * ratio * divergence

    from torchdiffeq import odeint  # imports SciPy's interpolation, too

    whitened = torch.einsum("ij,bj...->bi...", reference.kernel(first).inverse[0].to(model.device), u)
    span = torch.tensor([math.log(first), math.log(last)], dtype=torch.float64, device=model.device)
    begin = (whitened, torch.zeros(1, dtype=torch.float64, device=model.device))
    try:
        z, rest = odeint(
            course, begin, span, rtol=tolerance, atol=tolerance, method="dopri5", options={"max_num_steps": MOST_STEPS}
        )
    except AssertionError as error:
        raise MibenchError(f"sample {index}: the adaptive likelihood gave up ({error}); raise its tolerance") from None
    return torch.einsum("ij,bj...->bi...", reference.kernel(last).factor[0].to(model.device), z[-1]), rest[-1]


# ── the bound ─────────────────────────────────────────────────────────────────────────────────────────────────────
def elbo(model: Model, x: Tensor, noise: Tensor) -> Tensor:
    """The evidence lower bound of log p(x), in nats, for any order and any variance of the auxiliaries.

    log p(x) ≥ −KL(q(u_T | x) ‖ π) − ∫ ½ b G_n² / L_nn² E‖ε_θ − ε_n‖² dt + E log N(x; âᵀu' / |a|, |a|⁻²), by Girsanov's
    theorem on the path given x (Song et al. 2101.09258, theorem 3; Huang et al. 2106.02808) with u' = L⁻¹u at t_min.
    The times are even in log det L − tr(F) τ, whose derivative is the weight of the integral.

    Args:
        model: the model.
        x: (B, *item) data.
        noise: (K, n, *item) standard normal draws, one for each of K times.

    Returns:
        (B,), float64.

    Raises:
        Diverged: naming time and sample, where the network's answer leaves the finite numbers.
    """
    process, size = model.process, math.prod(model.shape)
    fine = _fine(process)
    log_det = process.tabulated(fine).factor.diagonal(dim1=1, dim2=2).log().sum(1)
    clock = log_det - process.F.trace() * process.elapsed(fine)
    length = (clock[-1] - clock[0]).item()
    middles = clock[0] + length * (torch.arange(len(noise), dtype=torch.float64) + 0.5) / len(noise)
    error = torch.zeros(len(x), dtype=torch.float64, device=model.device)
    finite = FiniteCheck()
    for eps, t in zip(noise, np.exp(np.interp(middles, clock, fine.log())).tolist(), strict=True):
        missed = model.residual(x, eps, t).flatten(1).square().sum(1)
        finite.add(missed[:, None], t)
        error = error + missed
    finite.finish()
    end, start = process.kernel(process.horizon), process.kernel(process.t_min)
    covariance = end.factor[0] @ end.factor[0].mT
    spread = (covariance.diagonal() / process.prior - 1 + process.prior.log()).sum() - 2 * end.factor[
        0
    ].diagonal().log().sum()
    mean = (end.mean_coef[0].square() / process.prior).sum().item() * x.flatten(1).double().square().sum(1)
    decoder = size / 2 * (start.log_snr.item() - math.log(2 * math.pi * math.e))
    return decoder - length / len(noise) * error - (mean + size * spread.item()) / 2
