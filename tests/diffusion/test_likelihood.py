"""The likelihood on Gaussian data, where it has a closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from mibench import Defense, LinearSDE, Model
from mibench.diffusion.denoisers import NetworkDenoiser, PlainDenoiser, SufficientDenoiser
from mibench.diffusion.likelihood import elbo, log_density, probes
from mibench.diffusion.networks import MLP
from mibench.diffusion.process import Kernel
from mibench.errors import Diverged
from mibench.recipe import Recipe
from mibench_defenses import CLD, HOLD, VE, VP

torch.set_num_threads(1)

DEFENSES = {"vp": VP(), "ve": VE(), "cld": CLD(), **{f"hold{n}": HOLD(order=n) for n in range(1, 5)}}


SLOW = pytest.mark.slow
PROCESSES = {name: defense.process() for name, defense in DEFENSES.items()}  # shared, since a process caches its grids


class Linear:
    """The optimal denoiser of independent data N(0, s_j²): ε_n = L_nn [C_j⁻¹ u]_n, C_j = E[:, 0] E[:, 0]ᵀ s_j² + Σ."""

    def __init__(self, deviations: Tensor, data_variance: float) -> None:
        self.variances, self.data_variance = deviations.square(), data_variance

    def covariance(self, kernel: Kernel) -> Tensor:
        """(d, n, n), at one time."""
        mean = kernel.mean_coef[0]
        return self.variances[:, None, None] * torch.outer(mean, mean) + kernel.factor[0] @ kernel.factor[0].mT

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        rows = kernel.factor[0, -1, -1] * torch.linalg.inv(self.covariance(kernel))[:, -1]
        return torch.einsum("di,bid->bd", rows, u)


def gaussian(name: str, deviations: list[float], known: float = 0.25) -> Model:
    """``known`` is the variance that the model takes its data for: wrong, so that there is something to integrate."""
    s = torch.tensor(deviations, dtype=torch.float64)
    return Model(PROCESSES[name], Linear(s, known), (len(s),))


def draws(model: Model, count: int) -> Tensor:
    """States of the model's law at t_min, (count, n, d)."""
    kernel = model.kernel(model.process.t_min)
    g = torch.Generator().manual_seed(0)
    q = torch.randn(count, 1, *model.shape, generator=g, dtype=torch.float64) * model.denoiser.variances.sqrt()
    eps = torch.randn(count, model.process.order, *model.shape, generator=g, dtype=torch.float64)
    return kernel.mean_coef[0][:, None] * q + kernel.factor[0] @ eps


def closed_form(model: Model, u: Tensor) -> Tensor:
    """The density that the ODE gives u: carried by the exact linear flow of each dimension to the prior at T."""
    process = model.process
    total = torch.zeros(len(u), dtype=torch.float64)
    for j, variance in enumerate(model.denoiser.variances.tolist()):
        exact = process.marginal(variance)
        flow = exact.flow(process.t_min, process.horizon)
        law = torch.distributions.Normal(0.0, process.prior.sqrt())
        total += law.log_prob(u[:, :, j] @ flow.mT).sum(1) + torch.linalg.slogdet(flow).logabsdet
    return total


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW if name in ("cld", "hold3", "hold4") else ()) for name in PROCESSES]
)
def test_gaussian_data_has_its_density(name: str) -> None:
    """Within 1e-3 nats, in one and two dimensions, though the model takes the variance of the data to be .25."""
    for deviations in ([1.0], [0.4, 1.3]):
        model = gaussian(name, deviations)
        u = draws(model, 32)
        vectors, weight = probes(model, 1, torch.Generator())
        assert torch.equal(vectors, torch.eye(len(deviations)).double())
        assert weight == 1
        got, want = log_density(model, u, vectors, weight, 512), closed_form(model, u)
        assert want.std() > 0.5
        torch.testing.assert_close(got, want, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", list(PROCESSES))
def test_density_is_that_of_the_law_at_t_min_where_the_prior_is_reached(name: str) -> None:
    """The closed form of the test above, against N(0, s² E[:, 0] E[:, 0]ᵀ + Σ) at t_min; VE's and VP's T is not infinite."""
    model = gaussian(name, [0.7])
    u = draws(model, 32)
    C = model.denoiser.covariance(model.kernel(model.process.t_min))
    law = torch.distributions.MultivariateNormal(torch.zeros(1, C.shape[1]).double(), C)
    torch.testing.assert_close(closed_form(model, u), law.log_prob(u.mT).sum(1), rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["vp", "cld", "hold2"])
def test_adaptive_steps_agree(name: str) -> None:
    model = gaussian(name, [1.0])
    u = draws(model, 3)
    unit = probes(model, 1, torch.Generator())
    got = log_density(model, u, *unit, 2, tolerance=1e-6)
    torch.testing.assert_close(got, closed_form(model, u), rtol=0, atol=1e-3)
    assert torch.equal(got[1:2], log_density(model, u[1:2], *unit, 2, tolerance=1e-6))


@pytest.mark.parametrize("name", ["vp", "ve", "hold1", "hold2", pytest.param("hold4", marks=SLOW)])
def test_error_shrinks_with_the_number_of_evaluations(name: str) -> None:
    """Of third order, in the end; four times as many evaluations bring a factor of 8 at least."""
    model = gaussian(name, [1.0])
    u = draws(model, 32)
    unit = probes(model, 1, torch.Generator())
    coarse, fine = ((log_density(model, u, *unit, k) - closed_form(model, u)).abs().max() for k in (64, 256))
    assert fine < coarse / 8


def test_without_a_known_variance_nothing_is_taken_for_granted() -> None:
    model = gaussian("hold2", [1.0], known=0.0)
    u = draws(model, 8)
    got = log_density(model, u, *probes(model, 1, torch.Generator()), 512)
    torch.testing.assert_close(got, closed_form(model, u), rtol=0, atol=2e-3)


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


@pytest.mark.parametrize("name", ["vp", "hold2", "hold4"])
def test_a_value_belongs_to_its_sample(name: str) -> None:
    """In float64, batches of 1, 7 and 64 in any order agree to 1e-9."""
    model = gaussian(name, [0.5, 1.3])
    u = draws(model, 64)
    unit = probes(model, 1, torch.Generator())
    together = log_density(model, u, *unit, 30)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for size in (1, 7):
        parts = torch.empty(64, dtype=torch.float64)
        parts[order] = torch.cat([log_density(model, part, *unit, 30) for part in torch.split(u[order], size)])
        torch.testing.assert_close(parts, together, rtol=1e-9, atol=0)


def test_arguments_out_of_range_are_refused() -> None:
    model = gaussian("vp", [1.0])
    for evaluations, tolerance in ((1, 0.0), (50, -1.0), (50, math.nan), (50, 1.0)):
        with pytest.raises(ValueError, match="needs evaluations"):
            log_density(model, draws(model, 1), *probes(model, 1, torch.Generator()), evaluations, tolerance)


@pytest.mark.slow
def test_oscillating_processes_have_their_likelihood() -> None:
    """A plugin's own F, with complex eigenvalues."""
    process = LinearSDE(
        [[0.0, 10.0], [-10.0, -3.0]],
        [0.0, 6**0.5],
        rate=torch.ones_like,
        elapsed=torch.clone,
        horizon=5.0,
        initial=[0.0, 0.1],
        prior=[1.0, 1.0],
    )
    model = Model(process, Linear(torch.tensor([1.0], dtype=torch.float64), 0.25), (1,))
    u = draws(model, 8)
    got = log_density(model, u, *probes(model, 1, torch.Generator()), 256)
    torch.testing.assert_close(got, closed_form(model, u), rtol=0, atol=5e-3)


def networked(defense: Defense, parameterisation: type[NetworkDenoiser], d: int) -> Model:
    """A network with random weights, all of which matter."""
    process = defense.process()
    torch.manual_seed(0)
    network = MLP(parameterisation.input_blocks(process.order), (d,), Recipe(width=64, depth=2))
    return Model(process, parameterisation(network, 0.5), (d,))


@pytest.mark.parametrize("parameterisation", [PlainDenoiser, SufficientDenoiser])
@pytest.mark.parametrize("name", ["vp", pytest.param("hold3", marks=SLOW)])
def test_a_value_of_a_network_belongs_to_its_sample(name: str, parameterisation: type[NetworkDenoiser]) -> None:
    """In float32, batches of 1, 7 and 64 in any order differ by at most 1e-4 of the spread between samples."""
    model = networked(DEFENSES[name], parameterisation, 16)
    g = torch.Generator().manual_seed(3)
    u = model.at_rest(torch.randn(64, 16, generator=g).double())
    u[:, 1:] = torch.randn(model.process.order - 1, 16, generator=g).double() * 0.3
    unit = probes(model, 1, g)
    noise = torch.randn(20, model.process.order, 16, generator=g).double()
    order = torch.randperm(64, generator=g)
    for value in (lambda x: log_density(model, x, *unit, 20), lambda x: elbo(model, x[:, 0], noise).detach()):
        together = value(u)
        limit = 1e-4 * together.std().item()
        assert limit > 0
        for size in (1, 7):
            parts = torch.empty(64, dtype=torch.float64)
            parts[order] = torch.cat([value(part) for part in torch.split(u[order], size)])
            torch.testing.assert_close(parts, together, rtol=0, atol=limit)


def test_vp_equals_the_published_formula() -> None:
    """Song et al. 2011.13456, eq. 39, written anew: the same network and probe, Runge–Kutta between the same times.

    dx/dt = −½ β x − ½ β s, s = −ε_θ / σ; the divergence is vᵀ (∂/∂x) v of the whole drift.
    """
    d = 12
    model = networked(VP(), SufficientDenoiser, d)
    denoiser = model.denoiser.double()
    denoiser.run_network = lambda blocks, kernel: denoiser.network(blocks, kernel.log_snr.expand(len(blocks)))
    g = torch.Generator().manual_seed(3)
    x0 = torch.randn(5, d, generator=g, dtype=torch.float64)
    vectors, weight = probes(model, 1, g)
    evaluations = 400
    got = log_density(model, x0[:, None], vectors, weight, evaluations)

    def drift(t: float, x: Tensor) -> tuple[Tensor, Tensor]:
        integral = 0.1 * t + 19.9 * t**2 / 2
        alpha, sigma = math.exp(-integral / 2), math.sqrt(-math.expm1(-integral))
        x = x.detach().requires_grad_(True)
        # EDM's preconditioning (2206.00364) around the same network, from α, σ and s² = .5 alone
        whole = math.sqrt(alpha**2 * 0.5 + sigma**2)
        snr = torch.full((len(x),), 2 * math.log(alpha / sigma), dtype=torch.float64)
        eps = sigma * x / whole**2 + alpha * math.sqrt(0.5) / whole * denoiser.network(x[:, None] / whole, snr)
        f = -0.5 * (0.1 + 19.9 * t) * (x - eps / sigma)
        (product,) = torch.autograd.grad(f, x, vectors[0].expand_as(x))
        return f.detach(), (product * vectors[0]).sum(1)

    x, total = x0, torch.zeros(5, dtype=torch.float64)
    times = (
        torch.linspace(model.process.t_min**0.5, model.process.horizon**0.5, 400, dtype=torch.float64).square().tolist()
    )
    for t0, t1 in itertools.pairwise(times):
        h = t1 - t0
        k1, l1 = drift(t0, x)
        k2, l2 = drift(t0 + h / 2, x + h / 2 * k1)
        k3, l3 = drift(t0 + h / 2, x + h / 2 * k2)
        k4, l4 = drift(t1, x + h * k3)
        x, total = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), total + h / 6 * (l1 + 2 * l2 + 2 * l3 + l4)
    want = total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)
    assert want.std() > 1
    torch.testing.assert_close(got, want, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", list(PROCESSES))
def test_elbo_of_gaussian_data(name: str) -> None:
    """Where the denoiser is optimal, the bound misses log p(x) by what decoder and posterior at t_min differ in.

    The expectation over ε is taken exactly: of a quadratic form it is the mean over ±√n times the unit vectors.
    """
    s2 = 0.49
    model = gaussian(name, [math.sqrt(s2)])
    process = model.process
    n, steps = process.order, 400
    x = torch.tensor([[-1.5], [0.0], [0.3], [2.0]], dtype=torch.float64)
    corners = math.sqrt(n) * torch.cat([torch.eye(n), -torch.eye(n)]).double()
    got = torch.stack([elbo(model, x, e[None, :, None].expand(steps, n, 1)) for e in corners]).mean(0)
    snr = process.kernel(process.t_min).log_snr.exp()
    gain = snr * s2 / (1 + snr * s2)
    posterior = -0.5 * (2 * math.pi * s2 / (1 + snr * s2)).log() - 0.5 * (1 + snr * s2) / s2 * (
        ((1 - gain) * x[:, 0]) ** 2 + gain**2 / snr
    )
    decoder = 0.5 * (snr / (2 * math.pi * math.e)).log()
    law = torch.distributions.Normal(0.0, math.sqrt(s2)).log_prob(x[:, 0])
    torch.testing.assert_close(got, law + decoder - posterior, rtol=0, atol=0.02)


def test_elbo_bounds_the_likelihood_of_a_network() -> None:
    """Mean over 64 samples of a network that is wrong everywhere."""
    model = networked(VP(), SufficientDenoiser, 4)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=g, dtype=torch.float64)
    with torch.no_grad():
        bound = elbo(model, x, torch.randn(400, 1, 4, generator=g, dtype=torch.float64))
    assert bound.mean() < log_density(model, x[:, None], *probes(model, 1, g), 100).mean()


@pytest.mark.parametrize("tolerance", [0.0, 1e-4])
def test_values_that_are_not_finite_name_time_and_sample(tolerance: float) -> None:
    model = gaussian("hold2", [0.7])
    u = draws(model, 5)
    u[3, 0] = math.nan
    with pytest.raises(Diverged, match=r"sample 3 leaves the finite numbers at t = 0\.005"):
        log_density(model, u, *probes(model, 1, torch.Generator()), 20, tolerance)
    with pytest.raises(Diverged, match="sample 3 leaves"):
        elbo(model, u[:, 0], torch.zeros(4, 2, 1).double())


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
