"""Denoisers against brute force, against the score, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from mibench import Model
from mibench.diffusion.denoisers import ExactDenoiser, PlainDenoiser, SufficientDenoiser, expand
from mibench.diffusion.process import Kernel
from mibench_defenses import CLD, HOLD, VE, VP

torch.set_num_threads(1)

BUNDLED = {"vp": VP(), "ve": VE(sigma_max=10), "cld": CLD(), **{f"hold{n}": HOLD(order=n) for n in range(1, 5)}}
EVERY = pytest.mark.parametrize("name", list(BUNDLED))
FRACTIONS = (0.02, 0.2, 0.6)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(name: str, points: Tensor, count: int = 6) -> tuple[Tensor, Kernel]:
    """Noised points at ``FRACTIONS`` of the horizon, in turn, (count, n, d), and their kernel."""
    process = BUNDLED[name].process()
    t = torch.tensor([FRACTIONS[i % 3] for i in range(count)], dtype=torch.float64) * process.horizon
    kernel = process.kernel(t)
    noise = normal(1, count, process.order, points.shape[1])
    clean = points[torch.arange(count) % len(points)]
    return kernel.mean_coef[..., None] * clean[:, None] + kernel.factor @ noise, kernel


@EVERY
def test_exact_denoiser_is_the_posterior_mean_by_brute_force(name: str) -> None:
    """§4: ε* = Σ_i w_i L⁻¹ (u − E[:, 0] x_i), w_i ∝ N(u; E[:, 0] x_i, Σ), with Σ itself."""
    points = normal(0, 5, 3)
    u, kernel = states(name, points)
    got = ExactDenoiser(points)(u, kernel)
    assert got.shape == (6, 3)
    for k in range(len(u)):
        L, mean = kernel.factor[k].numpy(), kernel.mean_coef[k].numpy()
        precision = np.linalg.inv(L @ L.T)
        residuals = [u[k].numpy() - np.outer(mean, x) for x in points.numpy()]
        logits = np.array([-0.5 * sum(r[:, j] @ precision @ r[:, j] for j in range(3)) for r in residuals])
        w = np.exp(logits - logits.max())
        want = sum(a / w.sum() * np.linalg.solve(L, r)[-1] for a, r in zip(w, residuals, strict=True))
        np.testing.assert_allclose(got[k], want, rtol=0, atol=1e-7)


@EVERY
def test_exact_denoiser_is_the_score(name: str) -> None:
    """ε*_n = −L_nn ∇_{u_n} log p(u) (§1)."""
    points = normal(0, 5, 3)
    u, kernel = states(name, points)
    u.requires_grad_(True)
    white = torch.einsum(
        "bij,bpjd->bpid", kernel.inverse, u[:, None] - kernel.mean_coef[:, None, :, None] * points[:, None]
    )
    log_p = torch.logsumexp(-white.square().flatten(2).sum(2) / 2, dim=1)
    (score,) = torch.autograd.grad(log_p.sum(), u)
    want = -kernel.factor[:, -1, -1, None] * score[:, -1]
    torch.testing.assert_close(ExactDenoiser(points)(u.detach(), kernel), want, rtol=0, atol=1e-8)


def test_exact_denoiser_of_one_point_is_the_noise() -> None:
    """With a single member nothing is left to estimate; items keep their shape."""
    kernel = HOLD(order=3).process().kernel(0.7)
    point, noise = normal(0, 1, 1, 2, 2), normal(1, 4, 3, 1, 2, 2)
    u = torch.einsum("ij,bj...->bi...", kernel.factor[0], noise) + expand(kernel.mean_coef, noise) * point[:, None]
    torch.testing.assert_close(ExactDenoiser(point)(u, kernel), noise[:, -1], rtol=0, atol=1e-10)


def test_exact_denoiser_treats_each_state_alone() -> None:
    """More states than it takes at once (256), one kernel for all: the same as one by one."""
    points, kernel = normal(0, 7, 2), HOLD(order=2).process().kernel(0.5)
    u = normal(1, 600, 2, 2)
    exact = ExactDenoiser(points)
    torch.testing.assert_close(
        exact(u, kernel)[[0, 255, 256, 599]], exact(u[[0, 255, 256, 599]], kernel), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("name", ["cld", "hold1", "hold2", "hold3", "hold4"])
def test_sufficient_statistic_identity(name: str) -> None:
    """§1: ε*_n = â_n E[ε' | y] + [u' − â (â·u')]_n, with E[ε' | y] from VP at the time of the same SNR.

    VP's SNR is 1/(exp(∫β) − 1), so ∫β = .1 t + 9.95 t² = log(1 + 1/|a|²).
    """
    points = normal(0, 5, 3)
    u, kernel = states(name, points)
    white = kernel.inverse @ u
    size = kernel.whitened_mean.norm(dim=1, keepdim=True)
    direction = kernel.whitened_mean / size
    along = torch.einsum("bi,bid->bd", direction, white)
    beta = torch.log1p(1 / size[:, 0] ** 2)
    vp = VP().process().kernel((-0.1 + (0.01 + 4 * 9.95 * beta).sqrt()) / (2 * 9.95))
    torch.testing.assert_close(vp.log_snr, kernel.log_snr, rtol=0, atol=1e-10)
    y = along / (1 + size**2).sqrt()
    noise = ExactDenoiser(points)(y[:, None], vp)
    want = direction[:, -1:] * noise + white[:, -1] - direction[:, -1:] * along
    torch.testing.assert_close(ExactDenoiser(points)(u, kernel), want, rtol=0, atol=1e-9)


def gaussian(kernel: Kernel, variance: float) -> Tensor:
    """(B, n): the coefficients of E[ε_n | u] = L_nn [C⁻¹ u]_n, C = E[:, 0] E[:, 0]ᵀ s² + Σ, for data N(0, s² I)."""
    C = variance * kernel.mean_coef[:, :, None] * kernel.mean_coef[:, None] + kernel.factor @ kernel.factor.mT
    return kernel.factor[:, -1, -1, None] * torch.linalg.inv(C)[:, -1]


class Rows(nn.Module):
    """A network that is linear in its input, with given weights per state."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        assert blocks.dtype == log_snr.dtype == torch.float32
        assert log_snr.shape == (len(blocks),)
        return torch.einsum("bi,bid->bd", self.weights.float(), blocks)


@EVERY
@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_sufficient_denoiser_needs_no_network_on_gaussian_data(name: str, variance: float) -> None:
    points = math.sqrt(variance) * normal(0, 6, 3)
    u, kernel = states(name, points)
    denoiser = SufficientDenoiser(Rows(torch.zeros(6, 1)), variance)
    want = (gaussian(kernel, variance)[..., None] * u).sum(1)
    torch.testing.assert_close(denoiser(u, kernel), want, rtol=0, atol=1e-7)
    # What is left to find has the posterior's standard deviation, Var(ε_n | u) = 1 − L_nn² [C⁻¹]_nn.
    left = 1 - gaussian(kernel, variance)[:, -1] * kernel.factor[:, -1, -1]
    torch.testing.assert_close(denoiser.c_out(kernel).square(), left, rtol=0, atol=1e-8)


@EVERY
def test_plain_denoiser_with_the_ideal_network_on_gaussian_data(name: str) -> None:
    """Its network sees u_j / √Var u_j and owes (E[ε_n | u] − L_nn u_n / Var u_n) / c_out: 0 for n = 1."""
    variance = 0.6
    u, kernel = states(name, math.sqrt(variance) * normal(0, 6, 3))
    scale = (variance * kernel.mean_coef.square() + kernel.factor.square().sum(2)).sqrt()
    ideal = gaussian(kernel, variance)
    last = kernel.factor[:, -1, -1]
    missing = ideal.clone()
    missing[:, -1] -= last / scale[:, -1] ** 2
    if u.shape[1] == 1:
        assert missing.abs().max() < 1e-12
    spread = (1 - last**2 / scale[:, -1] ** 2).sqrt()
    denoiser = PlainDenoiser(Rows(missing * scale / spread[:, None]), variance)
    torch.testing.assert_close(denoiser.c_out(kernel), spread, rtol=1e-7, atol=0)
    torch.testing.assert_close(denoiser(u, kernel), (ideal[..., None] * u).sum(1), rtol=0, atol=1e-5)


class IdealResidual(nn.Module):
    """What the network of ``SufficientDenoiser`` has to learn of a finite set, from y and log-SNR alone."""

    def __init__(self, points: Tensor, variance: float) -> None:
        super().__init__()
        self.points, self.variance = points, variance

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        snr = log_snr.double().exp()
        power = (snr * self.variance)[:, None]
        along = blocks[:, 0].double() * (1 + power).sqrt()  # |a| q_0 + ε'
        distance = (along[:, None] - snr.sqrt()[:, None, None] * self.points).square().sum(2)
        mean = torch.softmax(-distance / 2, dim=1) @ self.points
        noise = along - snr.sqrt()[:, None] * mean
        return ((noise - along / (1 + power)) / (power / (1 + power)).sqrt()).float()


@EVERY
def test_sufficient_denoiser_with_the_ideal_network_is_the_exact_denoiser(name: str) -> None:
    points = normal(0, 5, 3)
    u, kernel = states(name, points)
    got = SufficientDenoiser(IdealResidual(points, 0.7), 0.7)(u, kernel)
    torch.testing.assert_close(got, ExactDenoiser(points)(u, kernel), rtol=0, atol=1e-3)  # float32


@pytest.mark.parametrize("kind", [PlainDenoiser, SufficientDenoiser])
def test_one_kernel_serves_a_batch(kind: type[nn.Module]) -> None:
    """A kernel of one time for B states answers as one of B equal times."""
    process = HOLD(order=3).process()
    t = torch.full((4,), 0.8, dtype=torch.float64)
    blocks = kind.input_blocks(3)
    u = normal(0, 4, 3, 2)
    denoiser = kind(Rows(normal(1, 1, blocks).expand(4, -1)), 0.5)
    assert blocks == (3 if kind is PlainDenoiser else 1)
    torch.testing.assert_close(denoiser(u, process.kernel(0.8)), denoiser(u, process.kernel(t)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("defense", [CLD(), *(HOLD(order=n) for n in range(1, 5))], ids=lambda d: d.label)
@pytest.mark.parametrize("fraction", [0.35, 0.6])
def test_every_order_is_vp_at_the_same_signal_to_noise_ratio(defense: CLD | HOLD, fraction: float) -> None:
    """All that u_t says of q_0 is y, and y is a state of VP at the time of that SNR: both exact models find the same q̂_0."""
    process, vp = defense.process(), VP(t_min=1e-5).process()
    t = fraction * process.horizon
    kernel = process.kernel(t)
    level = kernel.log_snr.item()
    same = brentq(
        lambda s: vp.kernel(torch.tensor([s], dtype=torch.float64)).log_snr.item() - level, vp.t_min, 1, xtol=1e-15
    )
    g = torch.Generator().manual_seed(3)
    points = torch.randn(6, 3, generator=g, dtype=torch.float64)
    eps = torch.randn(6, process.order, 3, generator=g, dtype=torch.float64)
    model, plain = (Model(p, ExactDenoiser(points), (3,)) for p in (process, vp))
    u = model.noised(points, eps, t)
    size = kernel.whitened_mean[0].norm()
    y = torch.einsum("i,ij,bjd->bd", kernel.whitened_mean[0] / size, kernel.inverse[0], u) / (1 + size**2).sqrt()
    found = model.predict_x0(u, model.eps(u, t), t)
    assert (found - points).norm() > 1e-9  # the posterior has not collapsed everywhere
    torch.testing.assert_close(
        plain.predict_x0(y[:, None], plain.eps(y[:, None], same), same), found, rtol=0, atol=1e-7
    )
