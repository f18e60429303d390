"""The likelihood on Gaussian data, where it has a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mibench import Model
from mibench.diffusion.likelihood import log_density, probes
from mibench.diffusion.process import Kernel
from mibench_defenses import CLD, HOLD, VE, VP

torch.set_num_threads(1)

BUNDLED = {"vp": VP(), "ve": VE(), "cld": CLD(), **{f"hold{n}": HOLD(order=n) for n in range(1, 4)}}


class Linear:
    """The optimal denoiser of independent data N(0, s_j²): ε_n = L_nn [C_j⁻¹ u]_n, C_j = E[:, 0] E[:, 0]ᵀ s_j² + Σ."""

    def __init__(self, deviations: Tensor) -> None:
        self.variances = deviations.square()

    def covariance(self, kernel: Kernel) -> Tensor:
        """(d, n, n), at one time."""
        mean = kernel.mean[0]
        return self.variances[:, None, None] * torch.outer(mean, mean) + kernel.factor[0] @ kernel.factor[0].mT

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        rows = kernel.factor[0, -1, -1] * torch.linalg.inv(self.covariance(kernel))[:, -1]
        return torch.einsum("di,bid->bd", rows, u)


def gaussian(name: str, deviations: list[float]) -> Model:
    s = torch.tensor(deviations, dtype=torch.float64)
    return Model(BUNDLED[name].process(), Linear(s), (len(s),))


def draws(model: Model, count: int) -> Tensor:
    """States of the model's law at t_min, (count, n, d)."""
    kernel = model.kernel(model.process.t_min)
    g = torch.Generator().manual_seed(0)
    q = torch.randn(count, 1, *model.shape, generator=g, dtype=torch.float64) * model.denoiser.variances.sqrt()
    eps = torch.randn(count, model.process.order, *model.shape, generator=g, dtype=torch.float64)
    return kernel.mean[0][:, None] * q + kernel.factor[0] @ eps


def closed_form(model: Model, u: Tensor) -> Tensor:
    """log N(u; 0, E[:, 0] E[:, 0]ᵀ s² + Σ(t_min)), summed over the dimensions of the data."""
    C = model.denoiser.covariance(model.kernel(model.process.t_min))
    law = torch.distributions.MultivariateNormal(torch.zeros(len(C), C.shape[1]).double(), C)
    return law.log_prob(u.mT).sum(1)


@pytest.mark.parametrize("name", list(BUNDLED))
@pytest.mark.parametrize("deviations", [[0.7], [0.5, 1.3]], ids=["d=1", "d=2"])
def test_gaussian_data_has_its_density(name: str, deviations: list[float]) -> None:
    model = gaussian(name, deviations)
    u = draws(model, 32)
    vectors, weight = probes(model, 1, torch.Generator())
    assert torch.equal(vectors, torch.eye(len(deviations)).double())
    assert weight == 1
    got, want = log_density(model, u, vectors, weight, 200), closed_form(model, u)
    assert want.std() > 0.5
    torch.testing.assert_close(got, want, rtol=0, atol=TOLERANCE[name] * len(deviations))


# Nats per dimension at 200 evaluations, at least twice the worst of 32 states; the error is of second order.
TOLERANCE = {"vp": 0.005, "ve": 0.005, "cld": 0.02, "hold1": 0.002, "hold2": 0.05, "hold3": 0.1}


@pytest.mark.parametrize("name", ["vp", "hold2", "hold3"])
def test_error_shrinks_with_the_number_of_evaluations(name: str) -> None:
    model = gaussian(name, [0.7])
    u = draws(model, 32)
    vectors, weight = probes(model, 1, torch.Generator())
    coarse, fine = ((log_density(model, u, vectors, weight, k) - closed_form(model, u)).abs().mean() for k in (40, 160))
    assert fine < coarse / 6


def test_density_of_a_state_away_from_the_data() -> None:
    """Outliers, too: the density need not be typical (5 standard deviations of the data, at rest)."""
    model = gaussian("hold2", [0.7])
    u = torch.tensor([[[3.5], [0.0]], [[0.0], [0.0]]], dtype=torch.float64)
    got = log_density(model, u, *probes(model, 1, torch.Generator()), 200)
    torch.testing.assert_close(got, closed_form(model, u), rtol=0, atol=0.03)


def test_hutchinson_is_exact_for_a_diagonal_jacobian() -> None:
    """More than 8 numbers: seeded Rademacher probes, v_j² = 1, any of which gives the trace of a diagonal."""
    model = gaussian("vp", [0.5 + 0.1 * k for k in range(10)])
    vectors, weight = probes(model, 3, torch.Generator().manual_seed(1))
    assert vectors.shape == (3, 10)
    assert weight == pytest.approx(1 / 3)
    assert torch.equal(vectors.abs(), torch.ones_like(vectors))
    assert torch.equal(vectors, probes(model, 3, torch.Generator().manual_seed(1))[0])
    assert not torch.equal(vectors, probes(model, 3, torch.Generator().manual_seed(2))[0])
    u = draws(model, 8)
    got = log_density(model, u, vectors, weight, 50)
    torch.testing.assert_close(got, log_density(model, u, torch.eye(10).double(), 1.0, 50), rtol=0, atol=1e-9)


def test_unit_probes_up_to_eight_numbers() -> None:
    """n·d = 8 is the last exact case."""
    g = torch.Generator().manual_seed(0)
    assert probes(gaussian("hold2", [1.0] * 4), 1, g)[0].shape == (4, 4)
    assert probes(gaussian("hold2", [1.0] * 5), 1, g)[0].shape == (1, 5)


def test_a_value_belongs_to_its_sample() -> None:
    model = gaussian("hold2", [0.5, 1.3])
    u = draws(model, 7)
    vectors, weight = probes(model, 1, torch.Generator())
    together = log_density(model, u, vectors, weight, 30)
    alone = torch.cat([log_density(model, x[None], vectors, weight, 30) for x in u])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-11)
    shuffled = log_density(model, u.flip(0), vectors, weight, 30)
    torch.testing.assert_close(together, shuffled.flip(0), rtol=0, atol=1e-11)


def test_cost_is_one_forward_and_as_many_products_as_probes() -> None:
    model = gaussian("hold2", [0.5, 1.3])
    log_density(model, draws(model, 7), *probes(model, 1, torch.Generator()), 30)
    assert (model.cost.forwards, model.cost.vjps) == (7 * 30, 7 * 30 * 2)


def test_vector_jacobian_products() -> None:
    """vᵀ ∂ε_n/∂u_n of a linear denoiser is v times the coefficient of u_n; ε comes along, without a graph."""
    model = gaussian("hold3", [0.5, 1.3])
    u, t = draws(model, 4), 0.6
    vectors = torch.tensor([[1.0, 2.0], [0.0, -3.0]], dtype=torch.float64)
    eps, products = model.eps_vjp(u, t, vectors)
    kernel = model.kernel(t)
    slope = kernel.factor[0, -1, -1] * torch.linalg.inv(model.denoiser.covariance(kernel))[:, -1, -1]
    torch.testing.assert_close(products, (vectors * slope)[:, None].expand(2, 4, 2), rtol=1e-9, atol=0)
    assert torch.equal(eps, model.eps(u, t))
    assert not eps.requires_grad
    assert math.isfinite(eps.sum())
