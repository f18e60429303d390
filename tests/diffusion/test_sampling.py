"""The sampler on models whose law is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from mibench import Model
from mibench.data import nearest
from mibench.diffusion.denoisers import Denoiser, ExactDenoiser, SufficientDenoiser
from mibench.diffusion.process import Kernel
from mibench.diffusion.sampling import extrapolate, integrate, sample, time_grid
from mibench.errors import Diverged
from mibench_defenses import CLD, HOLD, VE, VP

torch.set_num_threads(1)

BUNDLED = {"vp": VP(), "ve": VE(), "cld": CLD(), **{f"hold{n}": HOLD(order=n) for n in range(1, 5)}}
EVERY = pytest.mark.parametrize("name", list(BUNDLED))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(name: str, points: Tensor) -> Model:
    return Model(BUNDLED[name].process(), ExactDenoiser(points), tuple(points.shape[1:]))


class Silent(torch.nn.Module):
    """The ideal network of ``SufficientDenoiser`` for Gaussian data: 0."""

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        return torch.zeros_like(blocks[:, 0])


@EVERY
def test_samples_of_the_exact_model_are_members(name: str) -> None:
    members = torch.randn(30, 1, 4, 4, generator=seeded(0), dtype=torch.float64)
    model = exact(name, members)
    samples = sample(model, 40, seeded(1))
    assert samples.shape == (40, 1, 4, 4)
    assert samples.dtype == torch.float64
    assert model.cost.forwards == 40 * 50
    assert nearest(samples, members).max() < 1e-5
    assert torch.cdist(samples.flatten(1), members.flatten(1)).argmin(1).unique().numel() >= 15


@EVERY
def test_members_are_drawn_equally_often(name: str) -> None:
    """Four points, two of them close together: each gets a quarter of 2000 draws, ± 5 standard errors of 1 %."""
    members = torch.tensor([[0.0, 1.0], [0.3, 1.0], [-1.0, -1.0], [1.2, -0.8]], dtype=torch.float64)
    samples = sample(exact(name, members), 2000, seeded(2))
    share = torch.cdist(samples, members).argmin(1).bincount(minlength=4) / 2000
    torch.testing.assert_close(share, torch.full((4,), 0.25), rtol=0, atol=0.05)


@EVERY
@pytest.mark.parametrize("deviation", [0.4, 1.5])
def test_samples_of_gaussian_data_have_its_spread(name: str, deviation: float) -> None:
    """Data N(0, s²): E[q_0 | u_t] at t_min has variance s² P / (1 + P), P = |a|² s².

    50 evaluations: 2.5 % off at worst (CLD), of which .5 % is the sampling error of 20 000 draws."""
    process = BUNDLED[name].process()
    samples = sample(Model(process, SufficientDenoiser(Silent(), deviation**2), (1,)), 20_000, seeded(3))[:, 0]
    power = process.kernel(process.t_min).log_snr.exp().item() * deviation**2
    want = deviation * math.sqrt(power / (1 + power))
    assert samples.std().item() == pytest.approx(want, rel=0.04)
    assert samples.mean().item() == pytest.approx(0, abs=5 * want / math.sqrt(20_000))


def test_more_evaluations_bring_the_spread_closer() -> None:
    """The integrator converges: from the same start, 100 evaluations are much nearer to 500 than 20 are."""
    model = Model(HOLD(order=3).process(), SufficientDenoiser(Silent(), 1.0), (1,))
    coarse, fine, finest = (sample(model, 2000, seeded(4), evaluations=k)[:, 0] for k in (20, 100, 500))
    assert (fine - finest).abs().mean() < 0.2 * (coarse - finest).abs().mean()


@pytest.mark.parametrize("name", ["vp", "cld", "hold3"])
def test_sampling_is_deterministic_per_seed(name: str) -> None:
    points = torch.randn(8, 3, generator=seeded(0), dtype=torch.float64)
    first, again, other = (sample(exact(name, points), 10, seeded(s), 10) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_step_of_vp_is_ddim() -> None:
    """2010.02502, eq. 12 without noise: u' = α' q̂_0 + σ' ε for u = α q̂_0 + σ ε, in either direction."""
    process = VP().process()
    model = Model(process, ExactDenoiser(torch.zeros(1, 2)), (2,))
    clean, eps = (torch.randn(5, 2, generator=seeded(k), dtype=torch.float64) for k in (0, 1))

    def state(t: float) -> Tensor:
        beta = 0.1 * t + 19.9 * t**2 / 2
        return (math.exp(-beta / 2) * clean + math.sqrt(-math.expm1(-beta)) * eps)[:, None]

    for t0, t1 in ((0.8, 0.1), (0.1, 0.8)):
        torch.testing.assert_close(model.step(state(t0), clean, t0, t1), state(t1), rtol=0, atol=1e-12)
        torch.testing.assert_close(model.predict_x0(state(t0), eps, t0), clean, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["ve", "cld", "hold2", "hold4"])
def test_clean_inverts_the_kernel(name: str) -> None:
    """u = E[:, 0] q_0 + L ε and the true ε_n give q_0 back."""
    process = BUNDLED[name].process()
    t = 0.2 * process.horizon
    kernel = process.kernel(t)
    q, eps = (torch.randn(5, k, 2, generator=seeded(k), dtype=torch.float64) for k in (1, process.order))
    u = kernel.mean_coef[0][:, None] * q + kernel.factor[0] @ eps
    model = Model(process, ExactDenoiser(torch.zeros(1, 2)), (2,))
    torch.testing.assert_close(model.predict_x0(u, eps[:, -1], t), q[:, 0], rtol=0, atol=1e-7)


def test_extrapolation_is_linear_in_the_log_snr() -> None:
    """2211.01095, Algorithm 2: half a step ahead; an estimate linear in log-SNR is met exactly."""
    grid = [-4.0, -3.0, 1.0]
    at = [torch.tensor([2 * g + 1]) for g in grid]
    assert extrapolate(at[0], None, grid, 0) is at[0]
    torch.testing.assert_close(extrapolate(at[1], at[0], grid, 1), torch.tensor([2 * -1.0 + 1]))


# ── convergence, without Monte Carlo ──────────────────────────────────────────────────────────────────────────────
class Shifted:
    """The denoiser of data that lies around 1 instead of 0."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def __call__(self, u: Tensor, kernel: Kernel) -> Tensor:
        return self.denoiser(u - kernel.mean_coef[..., None], kernel)


def law_after(model: Model, times: list[float], method: str, mean: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of u at times[-1] from u ~ N(mean, root rootᵀ) at times[0], exactly.

    On Gaussian data an integrator is affine in its state and its noise. So the first row of the batch carries the mean, each
    other one a source of randomness beside it (a column of ``root``, or one noise number), whose squares add up.
    """
    n = len(root)
    calls = {"euler-maruyama": 1, "sscs": 2 * n}.get(method, 0)
    rows = 1 + n + calls * (len(times) - 1)
    u = mean.expand(rows, n)[..., None].clone()
    u[1 : 1 + n, :, 0] += root.mT
    used = 1 + n

    def noise(*shape: int) -> Tensor:
        nonlocal used
        block = torch.zeros(shape, dtype=torch.float64)
        size = block[0].numel()
        block.view(rows, size)[torch.arange(used, used + size), torch.arange(size)] = 1
        used += size
        return block

    end = integrate(model, u, times, method, noise)[1][:, :, 0]
    assert used == rows
    apart = end[1:] - end[0]
    return end[0], apart.mT @ apart


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("method", "order"), [("euler-maruyama", 1), ("sscs", 1), ("exponential", 1), ("multistep", 2)]
)
def test_order_of_convergence(n: int, method: str, order: int) -> None:
    """Gaussian data N(1, .7²), from the exact law at T to t_min: the errors of mean and covariance have the order.

    Where the estimate of q_0 is frozen the mean is exact, since its own estimate is 1 at all times.
    """
    process = HOLD(order=n, horizon=2.0, t_min=0.1).process()
    model = Model(process, Shifted(SufficientDenoiser(Silent(), 0.49)), (1,))

    def law(t: float) -> tuple[Tensor, Tensor]:
        kernel = process.kernel(t)
        mean, factor = kernel.mean_coef[0], kernel.factor[0]
        return mean, 0.49 * torch.outer(mean, mean) + factor @ factor.mT

    mean, covariance = law(process.horizon)
    errors = []
    for steps in STEPS[method]:
        got = law_after(
            model, time_grid(process, steps + 1, "uniform"), method, mean, torch.linalg.cholesky(covariance)
        )
        errors.append([(a - b).norm().item() for a, b in zip(got, law(process.t_min), strict=True)])
    (mean_coarse, coarse), (mean_fine, fine) = errors
    span = math.log(STEPS[method][1] / STEPS[method][0])
    assert math.log(coarse / fine) / span == pytest.approx(order, abs=0.2), errors
    if method in ("exponential", "multistep"):
        assert mean_fine < 1e-12
    else:
        assert math.log(mean_coarse / mean_fine) / span == pytest.approx(order, abs=0.2), errors


STEPS = {"euler-maruyama": (400, 800), "sscs": (128, 256), "exponential": (400, 800), "multistep": (400, 800)}


@EVERY
@pytest.mark.parametrize("grid", ["uniform", "quadratic", "log-snr"])
def test_time_grids(name: str, grid: str) -> None:
    process = BUNDLED[name].process()
    times = time_grid(process, 33, grid)
    assert len(times) == 33
    assert times[0] == process.horizon and times[-1] == process.t_min
    assert all(a > b for a, b in itertools.pairwise(times))
    levels = process.kernel(torch.tensor(times, dtype=torch.float64)).log_snr.diff()
    if grid == "log-snr":
        torch.testing.assert_close(levels, levels.mean().expand(32), rtol=0.02, atol=0)


@EVERY
@pytest.mark.parametrize("method", ["exponential", "sscs", "euler-maruyama"])
def test_every_sampler_lands_on_members(name: str, method: str) -> None:
    """The stochastic ones, too, with steps enough: the estimate of q_0 at t_min is a member."""
    members = torch.randn(10, 4, generator=seeded(0), dtype=torch.float64)
    model = exact(name, members)
    samples = sample(model, 20, seeded(1), 50 if method == "exponential" else 400, method)
    assert model.cost.forwards == 20 * (50 if method == "exponential" else 400)
    assert nearest(samples, members).median() < 1e-3


def test_a_sampler_that_leaves_the_finite_numbers_says_where() -> None:
    class Broken:
        def __call__(self, u: Tensor, kernel: object) -> Tensor:
            found = u[:, -1].clone()
            found[3] = math.nan
            return found

    model = Model(VP().process(), Broken(), (2,))
    with pytest.raises(Diverged, match=r"sample 3 leaves the finite numbers at t = 0\.897"):
        sample(model, 5, seeded(0), 20)


def test_wrong_arguments_are_refused() -> None:
    model = Model(VP().process(), ExactDenoiser(torch.zeros(1, 2)), (2,))
    with pytest.raises(ValueError, match="unknown method 'ddim'; known: multistep"):
        sample(model, 2, seeded(0), 10, "ddim")
    with pytest.raises(ValueError, match="unknown grid 'foo'"):
        time_grid(model.process, 5, "foo")
    for count in (0, 1):
        with pytest.raises(ValueError, match="at least 2 times"):
            sample(model, 2, seeded(0), count)
    u = torch.zeros(1, 1, 2, dtype=torch.float64)
    for times in ([0.1, 0.5], [0.5, 0.5], [0.5, math.nan], [1.5, 0.5], [0.5, 0.0], []):
        with pytest.raises(ValueError, match="times must descend"):
            integrate(model, u, times, "exponential", torch.randn)


@torch.no_grad()
def test_large_batches_go_through_the_network_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact("hold2", torch.randn(20, 3, generator=seeded(0), dtype=torch.float64))
    u = torch.randn(50, 2, 3, generator=seeded(1), dtype=torch.float64)
    times = torch.linspace(0.1, 1, 50, dtype=torch.float64)
    whole = model.eps(u, 0.5), model.eps(u, times)
    sizes: list[int] = []
    ask = ExactDenoiser.__call__
    monkeypatch.setattr(ExactDenoiser, "__call__", lambda self, u, kernel: sizes.append(len(u)) or ask(self, u, kernel))
    monkeypatch.setattr("mibench.diffusion.model.AT_ONCE", 60)
    torch.testing.assert_close((model.eps(u, 0.5), model.eps(u, times)), whole, rtol=1e-12, atol=1e-12)
    assert sizes == 2 * [20, 20, 10] and model.cost.forwards == 200
