"""The linear SDE behind every defense: n×n algebra, exact to the last digits of float64.

State ``u = (q, p, s, …)`` of ``n`` variables, each shaped like one data item; ``q`` is the data::

    du = b(t) F u dt + sqrt(b(t)) G dw,            τ(t) = ∫₀ᵗ b
    u_t | q_0 ~ N(E(t)[:, 0] q_0, Σ(t)),           E = exp(F τ),   Σ = E Σ_0 Eᵀ + Σ_driven

Sources: Song et al. (arXiv 2011.13456) for n = 1, Dockhorn et al. (2112.07068) for n = 2, Shi and Liu (2506.21741) and
the HOLD defense (2509.14225) for any n.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mibench.diffusion.exact import Exact, exact
from mibench.diffusion.table import Table

__all__ = ["Kernel", "LinearSDE"]

STEPS = 24  # Magnus steps per e-fold of τ
WIDTH, PHASE = 0.4, 1.0  # a table's panel: at most this wide in log τ, and this much of an oscillation of F, in radians
ROUGHEST = 1e-5


@dataclass(frozen=True)
class Kernel:
    """The law of u_t given q_0 at B times: ``u_t = mean_coef q_0 + factor ε`` with ε ~ N(0, I). All float64.

    Attributes:
        mean_coef: (B, n), E(t)[:, 0].
        factor: (B, n, n), lower triangular L with a positive diagonal, Σ = L Lᵀ.
        inverse: (B, n, n), L⁻¹.
        whitened_mean: (B, n), a = L⁻¹ E[:, 0]: the whitened state is ``L⁻¹ u_t = a q_0 + ε``.
    """

    mean_coef: Tensor
    factor: Tensor
    inverse: Tensor
    whitened_mean: Tensor

    @property
    def log_snr(self) -> Tensor:
        """(B,), log |a|²: u_t says as much of q_0 as one noisy block with this signal-to-noise ratio."""
        return self.whitened_mean.square().sum(-1).log()

    def take(self, index: Tensor) -> Kernel:
        """The kernel at the times with these indices, (B',)."""
        return Kernel(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Kernel:
        """The same kernel on another device: one copy, for which the host does not wait."""
        parts = [getattr(self, f.name) for f in fields(self)]
        if torch.device(device) == self.factor.device:
            return self
        packed = torch.cat([part.flatten() for part in parts]).to(device, non_blocking=True)
        moved = torch.split(packed, [part.numel() for part in parts])
        return Kernel(*(there.view(part.shape) for there, part in zip(moved, parts, strict=True)))


class LinearSDE:
    """A linear SDE of order n with one driven variable, the last.

    Args:
        F: (n, n) drift matrix.
        G: (n,) diffusion vector; only its last entry may differ from 0.
        rate: b(t), on float64 tensors of times.
        elapsed: τ(t) = ∫₀ᵗ b, likewise.
        horizon: T > 0, the time at which sampling starts from the prior.
        initial: (n,) variances of u_0 given q_0 (ε_num for the data, v_0 for the auxiliaries).
        prior: (n,) variances of the Gaussian that sampling starts from.
        t_min: the smallest time of training, attacks and sampling, as a fraction of the horizon.

    Raises:
        ValueError: where these define no valid process; the message names the argument.
    """

    def __init__(
        self,
        F: list[list[float]],
        G: list[float],
        *,
        rate: Callable[[Tensor], Tensor],
        elapsed: Callable[[Tensor], Tensor],
        horizon: float,
        initial: list[float],
        prior: list[float],
        t_min: float = 1e-3,
    ) -> None:
        try:
            self.F, self.G, self.initial, self.prior = (
                torch.tensor(values, dtype=torch.float64) for values in (F, G, initial, prior)
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"F, G, initial and prior must be lists of numbers: {error}") from None
        self.rate, self.elapsed = rate, elapsed
        self.horizon, self.t_min = float(horizon), float(t_min) * float(horizon)
        self.order = self.G.numel()
        self._check()
        self._frequency = torch.linalg.eigvals(self.F).imag.abs().max().item()
        self._cached_kernel = functools.lru_cache(maxsize=4096)(self._kernel_at)
        self._cached_move = functools.lru_cache(maxsize=4096)(self._move)
        self._rotations: dict[tuple[float, float], Tensor] = {}
        self._marginals: dict[float, LinearSDE] = {}
        ends = self.kernel(torch.tensor([self.t_min, self.horizon], dtype=torch.float64))
        if not torch.isfinite(ends.log_snr).all():
            raise ValueError("the horizon is too long: nothing of the data is left there in double precision")

    def _check(self) -> None:
        n = self.order
        values = {"G": self.G, "F": self.F, "initial": self.initial, "prior": self.prior}
        for name, value in values.items():
            shape = (n, n) if name == "F" else (n,)
            if tuple(value.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}; a process of order {n} needs {shape}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds a value that is not finite")
        if (self.initial < 0).any() or (self.prior <= 0).any():
            raise ValueError("initial variances must be at least 0 and prior variances above 0")
        if self.G[-1] == 0 or self.G[:-1].any():
            raise ValueError("G must drive the last variable, and it alone")
        if not (math.isfinite(self.horizon) and self.horizon > 0 and 0 < self.t_min < self.horizon):
            raise ValueError("horizon must be positive and finite, and t_min a fraction between 0 and 1")
        times = torch.linspace(self.t_min, self.horizon, 64, dtype=torch.float64)
        rate, tau = self.rate(times), self.elapsed(times)
        for name, value in {"rate": rate, "elapsed": tau}.items():
            if not isinstance(value, Tensor) or value.shape != times.shape:
                raise ValueError(f"{name} must map a tensor of times to one of the same shape")
        if not torch.isfinite(rate).all() or (rate <= 0).any():
            raise ValueError("the rate b(t) must be positive and finite")
        if not torch.isfinite(tau).all() or (tau <= 0).any() or (tau.diff() <= 0).any():
            raise ValueError("the schedule must be finite and grow: ∫ b(t) dt has to increase with t")
        step = 1e-4 * (times[1] - times[0])
        slope = (self.elapsed(times[1:-1] + step) - self.elapsed(times[1:-1] - step)) / (2 * step)
        if ((slope / rate[1:-1] - 1).abs() > 1e-3).any():
            raise ValueError("elapsed is not the integral of rate: its slope differs from b(t)")
        if torch.linalg.eigvals(self.F).real.max() * tau[-1] > 1e-6:
            raise ValueError("F has a growing mode (an eigenvalue with a positive real part)")

    def _exact(self, tau: Tensor, initial: Tensor) -> list[Exact]:
        drift = tuple(tuple(row) for row in self.F.tolist())
        return [exact(drift, tuple(self.G.tolist()), tuple(initial.tolist()), x) for x in tau.tolist()]

    def transition(self, t: Tensor) -> Tensor:
        """E(t) = exp(F τ(t)), (len(t), n, n)."""
        return _stack([law.transition for law in self._exact(self.elapsed(t), self.initial)])

    def cholesky(self, t: Tensor, driven: bool = False) -> Tensor:
        """The lower Cholesky factor of Σ(t), or of Σ_driven(t), (len(t), n, n)."""
        initial = torch.zeros_like(self.initial) if driven else self.initial
        return _stack([law.factor for law in self._exact(self.elapsed(t), initial)])

    def kernel(self, t: Tensor | float, device: torch.device | str = "cpu") -> Kernel:
        """The kernel at times (B,) on the CPU, or at one time (B = 1; cached), as tensors of a device."""
        if not isinstance(t, Tensor):
            return self._cached_kernel(t, device)
        return self._kernel(self.elapsed(t)).to(device)

    def _kernel_at(self, t: float, device: torch.device | str) -> Kernel:
        return self.kernel(torch.tensor([t], dtype=torch.float64), device)

    def _kernel(self, tau: Tensor) -> Kernel:
        transition, *others = (_stack(list(tables)) for tables in zip(*self._exact(tau, self.initial), strict=True))
        return Kernel(transition[..., 0], *others)

    def marginal(self, variance: float) -> LinearSDE:
        """The same SDE for Gaussian data of this variance: its kernel is the law of u_t itself; cached."""
        if variance not in self._marginals:
            initial = self.initial.clone()
            initial[0] += variance
            self._marginals[variance] = LinearSDE(
                self.F.tolist(),
                self.G.tolist(),
                rate=self.rate,
                elapsed=self.elapsed,
                horizon=self.horizon,
                initial=initial.tolist(),
                prior=self.prior.tolist(),
                t_min=self.t_min / self.horizon,
            )
        return self._marginals[variance]

    @functools.cached_property
    def _table(self) -> Table:
        start, end = self.elapsed(torch.tensor([self.t_min, self.horizon], dtype=torch.float64)).log().tolist()
        edges = [start]
        while edges[-1] < end:
            edges.append(edges[-1] + min(WIDTH, PHASE / max(self._frequency * math.exp(edges[-1] + WIDTH), 1e-9)))
        panels = torch.tensor(edges, dtype=torch.float64)
        table = Table(
            lambda x: _pack(self._kernel(x.exp())), start + (panels - start) * (end - start) / (edges[-1] - start)
        )
        between = (panels[:-1] + panels.diff() * 0.46)[:: max(1, len(edges) // 64)].clamp(start, end)
        rough, fine = _unpack(table(between), self.order), self._kernel(between.exp())
        sizes = fine.factor.diagonal(dim1=-2, dim2=-1)
        off = max(
            (rough.factor.diagonal(dim1=-2, dim2=-1) / sizes - 1).abs().max().item(),
            ((rough.whitened_mean - fine.whitened_mean).norm(dim=1) / fine.whitened_mean.norm(dim=1)).max().item(),
        )
        if not off < ROUGHEST:
            raise ValueError(
                f"this process changes too fast to be tabulated (relative error {off:.0e}); shorten its horizon"
            )
        return table

    def tabulated(self, t: Tensor) -> Kernel:
        """The kernel at many times (B,) of [t_min, T], from a table that is built at the first call.

        Piecewise Chebyshev interpolation in log τ, of row norms in logarithms and of rows scaled by them, where ``kernel``
        is exact. Relative error: below 1e-8 for HOLD up to n = 6, below 1e-6 up to n = 10; of any other F below 1e-5, which
        is checked between the nodes when the table is built.

        Raises:
            ValueError: for a time outside [t_min, T], and where a table of this process would be coarser than that.
        """
        return _unpack(self._table(self.elapsed(t).log()), self.order)

    @functools.cached_property
    def _clock(self) -> tuple[Tensor, Tensor]:
        """−log SNR, which grows, and log t on a fine grid of times."""
        fine = torch.logspace(math.log10(self.t_min), math.log10(self.horizon), 2001, dtype=torch.float64)
        fine = fine.clamp(self.t_min, self.horizon)
        return -self.tabulated(fine).log_snr, fine.log()

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """The log-SNR at t_min and at the horizon."""
        levels, _ = self._clock
        return -levels[0].item(), -levels[-1].item()

    def time_at(self, log_snr: Tensor) -> Tensor:
        """The times at which the log-SNR has these values, (B,) each, to 1e-5 or so; the nearest end beyond its range.

        The log-SNR falls with time, whatever the process.
        """
        times = np.exp(np.interp(-log_snr, *self._clock))
        return torch.from_numpy(times).clamp(self.t_min, self.horizon)

    def flow(self, t0: float, t1: float) -> Tensor:
        """Ψ(t1, t0), (n, n): how the probability-flow ODE moves ``u − E[:, 0] q_0`` when q_0 is known.

        It maps N(0, Σ(t0)) to N(0, Σ(t1)), so Ψ = L(t1) Q L(t0)⁻¹ with Q orthogonal.
        """
        turn = self.rotation(t0, t1) if t0 < t1 else self.rotation(t1, t0).mT
        return self.kernel(t1).factor[0] @ turn @ self.kernel(t0).inverse[0]

    def move(self, t0: float, t1: float, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Ψ (n, n) and s (n,) of u(t1) = Ψ u(t0) + s q_0 under the same ODE, as tensors of a device; cached."""
        return self._cached_move(t0, t1, device)

    def _move(self, t0: float, t1: float, device: torch.device | str) -> tuple[Tensor, Tensor]:
        psi = self.flow(t0, t1)
        shift = self.kernel(t1).mean_coef[0] - psi @ self.kernel(t0).mean_coef[0]
        if torch.device(device) == psi.device:
            return psi, shift
        packed = torch.cat([psi, shift[None]]).to(device, non_blocking=True)
        return packed[:-1], packed[-1]

    def rotation(self, t0: float, t1: float) -> Tensor:
        """Q of ``flow`` from t0 to t1 ≥ t0, (n, n); cached.

        Whitened, the ODE reads dz/dτ = A z, where the antisymmetric A has the upper triangle of L⁻¹ F L. Magnus
        integration, fourth order, in log τ.
        """
        if (t0, t1) not in self._rotations:
            start, end = self.elapsed(torch.tensor([t0, t1], dtype=torch.float64)).log().tolist()
            steps = 1 + int((STEPS * (self.order - 1) + 40 * self._frequency * math.exp(end)) * (end - start))
            rotation = torch.eye(self.order, dtype=torch.float64)
            if self.order > 1:
                h = (end - start) / steps
                offset = math.sqrt(3) / 6
                grid = torch.arange(steps, dtype=torch.float64)[:, None] + torch.tensor([0.5 - offset, 0.5 + offset])
                tau = (start + grid * h).exp().flatten()
                kernel = self._kernel(tau)
                upper = (kernel.inverse @ self.F @ kernel.factor).triu(1)
                whirl = ((upper - upper.mT) * tau[:, None, None]).unflatten(0, (steps, 2))
                first, second = whirl[:, 0], whirl[:, 1]
                bracket = second @ first - first @ second
                for turn in torch.linalg.matrix_exp(h / 2 * (first + second) + math.sqrt(3) / 12 * h**2 * bracket):
                    rotation = turn @ rotation
            self._rotations[t0, t1] = rotation
        return self._rotations[t0, t1]


def _stack(tables: list[Any]) -> Tensor:
    return torch.tensor(tables, dtype=torch.float64)


def _pack(kernel: Kernel) -> Tensor:
    """A kernel (B times) as smooth numbers, (B, features): logarithms of sizes, and rows divided by them."""
    size = kernel.factor.diagonal(dim1=-2, dim2=-1)
    parts = [size.log(), kernel.factor / size[..., None], kernel.inverse * size[..., None]]
    for vector in (kernel.mean_coef, kernel.whitened_mean):
        norm = vector.norm(dim=-1, keepdim=True)
        parts += [norm.log(), vector / norm]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def _unpack(packed: Tensor, n: int) -> Kernel:
    """What ``_pack`` packed."""
    log_size, factor, inverse, *vectors = torch.split(packed, [n, n * n, n * n, 1, n, 1, n], dim=1)
    size = log_size.exp()[..., None]
    mean_coef, whitened_mean = (log.exp() * direction for log, direction in (vectors[:2], vectors[2:]))
    return Kernel(mean_coef, factor.view(-1, n, n) * size, inverse.view(-1, n, n) / size, whitened_mean)
