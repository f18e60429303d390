"""The linear SDE behind every defense: n×n algebra in float64, from which data and networks stay away.

State ``u = (q, p, s, …)`` of ``n`` variables, each shaped like one data item; ``q`` is the data::

    du = b(t) F u dt + sqrt(b(t)) G dw,            τ(t) = ∫₀ᵗ b
    u_t | q_0 ~ N(E(t)[:, 0] q_0, Σ(t)),           E = exp(F τ),   Σ = E Σ_0 Eᵀ + Σ_driven

Sources: Song et al. (arXiv 2011.13456) for n = 1, Dockhorn et al. (2112.07068) for n = 2, Shi and Liu (2506.21741) and
the HOLD defense (2509.14225) for any n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

__all__ = ["Kernel", "LinearSDE"]

NODES, WEIGHTS = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(32))


@dataclass(frozen=True)
class Kernel:
    """The law of u_t given q_0 at B times: ``u_t = mean q_0 + factor ε`` with ε ~ N(0, I). All float64.

    Attributes:
        mean: (B, n), E(t)[:, 0].
        factor: (B, n, n), lower triangular L with a positive diagonal, Σ = L Lᵀ.
        inverse: (B, n, n), L⁻¹.
        signal: (B, n), a = L⁻¹ E[:, 0]: the whitened state is ``L⁻¹ u_t = a q_0 + ε``.
    """

    mean: Tensor
    factor: Tensor
    inverse: Tensor
    signal: Tensor

    @property
    def log_snr(self) -> Tensor:
        """(B,), log |a|²: all that u_t says of q_0 is one block of this signal-to-noise ratio."""
        return self.signal.square().sum(-1).log()

    def take(self, index: Tensor) -> Kernel:
        """The kernel at the times with these indices, (B',)."""
        return Kernel(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Kernel:
        """The same kernel on another device."""
        return Kernel(*(getattr(self, f.name).to(device) for f in fields(self)))


class LinearSDE:
    """A linear SDE of order n with one driven variable, the last.

    Args:
        F: (n, n) drift matrix.
        G: (n,) diffusion vector; only its last entry may differ from 0.
        rate: b(t), on float64 tensors of times.
        elapsed: τ(t) = ∫₀ᵗ b, likewise.
        horizon: T > 0, the time at which the state is taken for the prior.
        initial: (n,) variances of u_0 given q_0 (ε_num for the data, v_0 for the auxiliaries).
        prior: (n,) variances of the Gaussian that sampling starts from.
        t_min: the one smallest time of training, attacks and sampling, as a fraction of the horizon.

    Raises:
        ValueError: where these make no valid process; the message names the argument.
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
        self.F = torch.tensor(F, dtype=torch.float64)
        self.G = torch.tensor(G, dtype=torch.float64)
        self.initial = torch.tensor(initial, dtype=torch.float64)
        self.prior = torch.tensor(prior, dtype=torch.float64)
        self.rate, self.elapsed = rate, elapsed
        self.horizon, self.t_min = float(horizon), float(t_min) * float(horizon)
        self.order = len(G)
        self._check()
        self._decay = -self.F.trace() / self.order
        shifted = self.F + self._decay * torch.eye(self.order, dtype=torch.float64)
        powers = [torch.eye(self.order, dtype=torch.float64)]
        for k in range(1, self.order + 1):
            powers.append(powers[-1] @ shifted / k)
        scale = max(1.0, float(shifted.abs().max())) ** self.order
        self._powers = torch.stack(powers[:-1]) if powers[-1].abs().max() <= 1e-11 * scale else None
        modes = torch.linalg.eigvals(self.F).real.neg() if self._powers is None else self._decay[None]
        self._slowest, self._fastest = float(modes.min()), float(modes.max())
        self._kernels: dict[float, Kernel] = {}
        ends = self.kernel(torch.tensor([self.t_min, self.horizon], dtype=torch.float64))
        if (ends.factor.diagonal(dim1=-2, dim2=-1) <= 0).any():
            raise ValueError("the noise does not reach every variable: F must couple them all to the last one")
        if not torch.isfinite(ends.log_snr).all():
            raise ValueError("the horizon is too long: nothing of the data is left there in double precision")

    def _check(self) -> None:
        n = self.order
        shapes = {"F": (self.F, (n, n)), "initial": (self.initial, (n,)), "prior": (self.prior, (n,))}
        for name, (value, shape) in shapes.items():
            if tuple(value.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}; a process of order {n} needs {shape}")
        for name, value in {"F": self.F, "G": self.G, "initial": self.initial, "prior": self.prior}.items():
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds a value that is not finite")
        if (self.initial < 0).any() or (self.prior <= 0).any():
            raise ValueError("initial variances must be at least 0 and prior variances above 0")
        if self.G[-1] == 0 or self.G[:-1].any():
            raise ValueError("G must drive the last variable, and it alone")
        if torch.linalg.eigvals(self.F).real.max() > 1e-6:
            raise ValueError("F has a growing mode (an eigenvalue with a positive real part)")
        if not (math.isfinite(self.horizon) and self.horizon > 0 and 0 < self.t_min < self.horizon):
            raise ValueError("horizon must be positive and finite, and t_min a fraction between 0 and 1")
        times = torch.linspace(self.t_min, self.horizon, 64, dtype=torch.float64)
        tau = self.elapsed(times)
        rate = self.rate(times)
        if not torch.isfinite(rate).all() or (rate <= 0).any():
            raise ValueError("the rate b(t) must be positive and finite")
        if not torch.isfinite(tau).all() or (tau <= 0).any() or (tau.diff() <= 0).any():
            raise ValueError("the schedule must be finite and grow: ∫ b(t) dt has to increase with t")

    # ── closed forms in the process' own time τ ───────────────────────────────────────────────────────────────────
    def _exp(self, tau: Tensor) -> Tensor:
        """exp(F τ), (…, n, n). With F + λI nilpotent (all bundled processes) a sum of n terms, else a matrix exponential."""
        if self._powers is None:
            general: Tensor = torch.linalg.matrix_exp(self.F * tau[..., None, None])
            return general
        orders = torch.arange(self.order, dtype=torch.float64)
        weights = (-self._decay * tau).exp()[..., None] * tau[..., None] ** orders
        matrix: Tensor = torch.einsum("...k,kij->...ij", weights, self._powers)
        return matrix

    def _factor(self, tau: Tensor, driven: bool = False) -> Tensor:
        """Cholesky factor of Σ (or of Σ_driven) at τ, (B, n, n), in square-root form: no covariance is ever formed.

        Σ = A Aᵀ with A = [E Σ_0^½, √w_1 E(τ_1) G, …, √w_K E(τ_K) G] on Gauss–Legendre nodes, so L = Rᵀ of QR(Aᵀ). What the
        process has long forgotten (80 times its slowest decay) is left out, the rest split into panels of 15 decays.
        """
        span = tau.clamp(max=80 / self._slowest) if self._slowest > 0 else tau
        panels = min(64, max(1, math.ceil(self._fastest * float(span.max()) / 15)))
        starts = torch.arange(panels, dtype=torch.float64)[:, None] / panels
        nodes = span[:, None] * (starts + (NODES + 1) / 2 / panels).flatten()
        weights = (span[:, None] * (WEIGHTS / 2 / panels).repeat(panels)).sqrt()
        rows = (self._exp(nodes) @ self.G) * weights[..., None]
        if not driven and self.initial.any():
            rows = torch.cat([(self._exp(tau) * self.initial.sqrt()).mT, rows], dim=1)
        upper = torch.linalg.qr(rows, mode="r").R
        lower: Tensor = (upper * upper.diagonal(dim1=-2, dim2=-1).sign()[..., None]).mT
        return lower

    # ── the public contract: a 1-D float64 tensor of times in, one matrix or vector per time out ──────────────────
    def transition(self, t: Tensor) -> Tensor:
        """E(t) = exp(F τ(t)), (len(t), n, n)."""
        return self._exp(self.elapsed(t))

    def mean(self, t: Tensor) -> Tensor:
        """E(t)[:, 0], the coefficients of q_0 in the mean of u_t, (len(t), n)."""
        return self.transition(t)[..., 0]

    def cholesky(self, t: Tensor, driven: bool = False) -> Tensor:
        """The lower Cholesky factor of Σ(t), or of Σ_driven(t), (len(t), n, n)."""
        return self._factor(self.elapsed(t), driven)

    def drift(self, u: Tensor, t: Tensor) -> Tensor:
        """b(t) F u for a state (B, n, *item) at times (B,) or (1,), of the same shape."""
        b = self.rate(t).to(u).view(-1, *[1] * (u.dim() - 1))
        return b * torch.einsum("ij,bj...->bi...", self.F.to(u), u)

    def diffusion(self, t: Tensor) -> Tensor:
        """√b(t) G, (len(t), n)."""
        return self.rate(t).sqrt()[:, None] * self.G

    def kernel(self, t: Tensor | float) -> Kernel:
        """The kernel at times (B,), or at one time (B = 1; remembered, since attacks and samplers ask again)."""
        if not isinstance(t, Tensor):
            if t not in self._kernels:
                self._kernels[t] = self.kernel(torch.tensor([t], dtype=torch.float64))
            return self._kernels[t]
        mean, factor = self.mean(t), self.cholesky(t)
        eye = torch.eye(self.order, dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        return Kernel(mean, factor, inverse, torch.einsum("bij,bj->bi", inverse, mean))

    def flow(self, t0: float, t1: float) -> Tensor:
        """Ψ(t1, t0), (n, n): how the probability-flow ODE moves ``u − E[:, 0] q_0`` when q_0 is known.

        It maps N(0, Σ(t0)) to N(0, Σ(t1)), so Ψ = L(t1) Q L(t0)⁻¹ with Q orthogonal; whitened, the ODE reads
        dz/dτ = A z, where the antisymmetric A has the upper triangle of L⁻¹ F L. Magnus integration, fourth order, in log τ.
        """
        start, end = self.kernel(t0), self.kernel(t1)
        tau0, tau1 = (self.elapsed(torch.tensor([t], dtype=torch.float64)) for t in (t0, t1))
        span = float((tau1 / tau0).log())
        steps = 1 + int(24 * abs(span)) if self.order > 1 else 0
        rotation = torch.eye(self.order, dtype=torch.float64)
        if steps:
            h = span / steps
            offset = math.sqrt(3) / 6
            grid = torch.arange(steps, dtype=torch.float64)[:, None] + torch.tensor([0.5 - offset, 0.5 + offset])
            tau = (tau0 * (grid * h).exp()).flatten()
            factor = self._factor(tau)
            upper = torch.linalg.solve_triangular(factor, self.F @ factor, upper=False).triu(1)
            whirl = ((upper - upper.mT) * tau[:, None, None]).unflatten(0, (steps, 2))
            first, second = whirl[:, 0], whirl[:, 1]
            bracket = second @ first - first @ second
            for turn in torch.linalg.matrix_exp(h / 2 * (first + second) + math.sqrt(3) / 12 * h**2 * bracket):
                rotation = turn @ rotation
        return end.factor[0] @ rotation @ start.inverse[0]
