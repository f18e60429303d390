"""The linear SDE against tables, closed forms, numerical integration and multiprecision.

Numbers such as "§1" are the sections of the project's mathematics.md.
"""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor

from mibench import LinearSDE, MibenchError, Model
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.process import Kernel
from mibench_defenses import CLD, HOLD, VE, VP

torch.set_num_threads(1)

BUNDLED = {"vp": VP(), "ve": VE(), "cld": CLD(), **{f"hold{n}": HOLD(order=n) for n in range(1, 6)}}


def times(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sde(F: list[list[float]], initial: list[float] | None = None, **changes: object) -> LinearSDE:
    """A process with b = 1, T = 2 and G = (0, …, 0, 1) unless changed."""
    n = len(F or [0.0])
    arguments = {
        "G": [0.0] * (n - 1) + [1.0],
        "rate": torch.ones_like,
        "elapsed": torch.clone,
        "horizon": 2.0,
        "initial": [0.0] * n if initial is None else initial,
        "prior": [1.0] * n,
    }
    return LinearSDE(F, **(arguments | changes))


PROCESSES = {name: defense.process() for name, defense in BUNDLED.items()} | {
    "oscillator": sde([[0.0, 10.0], [-10.0, -0.5]], [0.0, 0.1], horizon=5.0),
    "order-5-complex": sde(
        [[0, 2, 0, 0, 0], [-2, 0, 3, 0, 0], [0, -3, 0, 4, 0], [0, 0, -4, 0, 5], [0, 0, 0, -5, -2]],
        [0.0, 0.1, 0.1, 0.1, 0.1],
    ),
}
EVERY = pytest.mark.parametrize("process", list(PROCESSES.values()), ids=list(PROCESSES))
FLOWS = pytest.mark.parametrize(  # the flow of the last one takes long
    "process",
    [pytest.param(p, id=name, marks=[pytest.mark.slow] * (name == "order-5-complex")) for name, p in PROCESSES.items()],
)


def integrated(process: LinearSDE, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """E and Σ at τ by Runge–Kutta: dE/dτ = F E, dΣ/dτ = F Σ + Σ Fᵀ + G Gᵀ, from E = I, Σ = Σ_0."""
    n, F = process.order, process.F.numpy()
    noise = np.outer(process.G.numpy(), process.G.numpy())

    def slope(_: float, flat: np.ndarray) -> np.ndarray:
        E, S = flat.reshape(2, n, n)
        return np.concatenate([(F @ E).ravel(), (F @ S + S @ F.T + noise).ravel()])

    start = np.concatenate([np.eye(n).ravel(), np.diag(process.initial.numpy()).ravel()])
    end = solve_ivp(slope, (0, tau), start, method="DOP853", rtol=1e-12, atol=1e-15).y[:, -1]
    return tuple(end.reshape(2, n, n))


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("n", "tau", "last", "first"),
    [
        (2, 1e-3, "0.0364308", "0.000284906"),
        (2, 1.0, "0.803377", "0.578057"),
        (3, 1e-2, "0.138611", "0.00282835"),
        (3, 1.0, "0.848489", "0.539902"),
        (4, 1e-2, "0.153037", "0.00282833"),
        (4, 1.0, "0.873208", "0.446621"),
    ],
)
def test_reference_values_to_their_last_digit(n: int, tau: float, last: str, first: str) -> None:
    """The table of §1 (60-digit arithmetic; L⁻¹ = 1, v_0 = .08, ε_num = 0), six significant digits."""
    L = HOLD(order=n, aux_variance=0.08).process().cholesky(times(tau))[0]
    assert f"{L[-1, -1]:.6g}" == last
    assert f"{L[0, 0]:.6g}" == first


@pytest.mark.parametrize(
    ("n", "gammas", "friction"),
    [(2, [1], 2), (3, [1, 2 * math.sqrt(2)], 3 * math.sqrt(3)), (4, [1, 2, 5], 4 * math.sqrt(5))],
)
def test_hold_has_the_published_coefficients(n: int, gammas: list[float], friction: float) -> None:
    process = HOLD(order=n, t_min=0.01, stationary_variance=3.0).process()
    want = np.diag(np.float64(gammas), 1) - np.diag(np.float64(gammas), -1)
    want[-1, -1] = -friction
    np.testing.assert_allclose(process.F, want, atol=1e-14)
    np.testing.assert_allclose(process.G, [0] * (n - 1) + [math.sqrt(2 * friction * 3)], rtol=1e-14)


@pytest.mark.parametrize("n", range(2, 11))
def test_hold_is_critically_damped(n: int) -> None:
    """F + λI is nilpotent with λ = √(2n − 3); each entry of its n-th power is a sum of terms of size ‖F‖ⁿ."""
    process = HOLD(order=n, t_min=0.01).process()
    shifted = process.F + math.sqrt(2 * n - 3) * torch.eye(n, dtype=torch.float64)
    scale = float(shifted.abs().max()) ** n
    assert torch.linalg.matrix_power(shifted, n).abs().max() < 1e-13 * scale
    assert torch.linalg.matrix_power(shifted, n - 1).abs().max() > 1e-6 * scale / math.factorial(n)


@pytest.mark.parametrize("t", [1e-3, 0.2, 1.0])
def test_vp_and_ve_in_closed_form(t: float) -> None:
    """2011.13456, eq. 29: VP has mean exp(−½∫β), variance 1 − exp(−∫β); VE has mean 1, variance σ²(t) − σ²(0)."""
    vp, ve = VP().process().kernel(t), VE().process().kernel(t)
    beta = 0.1 * t + 19.9 * t**2 / 2
    assert vp.mean_coef.item() == pytest.approx(math.exp(-beta / 2), rel=1e-13)
    assert vp.factor.item() ** 2 == pytest.approx(-math.expm1(-beta), rel=1e-13)
    sigma2 = 1e-4 * 5000 ** (2 * t) - 1e-4
    assert ve.mean_coef.item() == 1
    assert ve.factor.item() ** 2 == pytest.approx(sigma2, rel=1e-11)
    assert vp.log_snr.item() == pytest.approx(-math.log(math.expm1(beta)), rel=1e-12)


# ── E and Σ ───────────────────────────────────────────────────────────────────────────────────────────────────────
@EVERY
@pytest.mark.parametrize("fraction", [0.02, 0.3, 1.0])
def test_kernel_matches_numerical_integration(process: LinearSDE, fraction: float) -> None:
    t = times(fraction * process.horizon)
    E, S = integrated(process, process.elapsed(t).item())
    L = process.cholesky(t)[0]
    np.testing.assert_allclose(process.transition(t)[0], E, rtol=0, atol=1e-11)
    np.testing.assert_allclose(process.kernel(t).mean_coef[0], E[:, 0], rtol=0, atol=1e-11)
    size = np.sqrt(np.diag(S))  # entries of Σ differ by orders of magnitude: compare correlations
    np.testing.assert_allclose((L @ L.mT).numpy() / np.outer(size, size), S / np.outer(size, size), rtol=0, atol=1e-9)


@EVERY
def test_noise_alone_matches_numerical_integration(process: LinearSDE) -> None:
    """Σ_driven is Σ less what the start contributes, E Σ_0 Eᵀ."""
    t = times(0.3 * process.horizon)
    E, S = integrated(process, process.elapsed(t).item())
    L = process.cholesky(t, driven=True)[0]
    want = S - E @ np.diag(process.initial.numpy()) @ E.T
    np.testing.assert_allclose(L @ L.mT, want, rtol=0, atol=1e-10 * np.abs(S).max())


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize(("variance", "aux", "eps"), [(1.0, 0.08, 0.0), (2.5, 0.0, 0.3)])
def test_textbook_form_where_it_does_not_cancel(n: int, variance: float, aux: float, eps: float) -> None:
    """Σ = L⁻¹ I + E (Σ_0 − L⁻¹ I) Eᵀ (§1); from order 8 on the sum of powers of Nτ in E cancels to 1e-10."""
    process = HOLD(order=n, t_min=0.01, stationary_variance=variance, aux_variance=aux, epsilon_num=eps).process()
    t = times(2.0, 3.5, 5.0)
    E, L = process.transition(t), process.cholesky(t)
    eye = torch.eye(n, dtype=torch.float64)
    start = torch.diag(times(eps, *[aux] * (n - 1)))
    tolerance = 1e-11 if n < 8 else 1e-8
    torch.testing.assert_close(L @ L.mT, variance * eye + E @ (start - variance * eye) @ E.mT, rtol=0, atol=tolerance)


def test_prior_is_the_law_at_the_horizon() -> None:
    """What sampling starts from: a datum of size 1 leaves at most 4 % of a standard deviation (HOLD(2), T = 5)."""
    for name, defense in BUNDLED.items():
        process = defense.process()
        kernel = process.kernel(process.horizon)
        spread = process.prior.sqrt()
        assert (kernel.mean_coef[0].abs() / spread).max() < 0.05, name
        torch.testing.assert_close(
            kernel.factor[0] / spread[:, None], torch.eye(process.order).double(), rtol=0, atol=0.02
        )


@EVERY
def test_diagonal_is_positive_everywhere(process: LinearSDE) -> None:
    for driven in (False, True):
        t = torch.logspace(-5, 0, 101, dtype=torch.float64).clamp(max=1) * process.horizon
        L = process.cholesky(t, driven)
        assert torch.isfinite(L).all()
        assert (L.diagonal(dim1=-2, dim2=-1) > 0).all()
        assert (L.triu(1) == 0).all()


def exact(n: int, tau: float, aux: float, eps: float) -> tuple[mp.matrix, mp.matrix]:
    """E and L of HOLD(n) from exact coefficients and the textbook form, with digits enough to absorb its cancellation."""
    lam = mp.sqrt(2 * n - 3) if n > 1 else mp.mpf(1)
    nilpotent = lam * mp.eye(n)
    for k in range(1, n):
        i = n - k - 1
        gamma = lam * mp.sqrt(mp.mpf(n * n - k * k) / (4 * k * k - 1))
        nilpotent[i, i + 1], nilpotent[i + 1, i] = gamma, -gamma
    nilpotent[n - 1, n - 1] -= n * lam
    power = E = mp.eye(n)
    for k in range(1, n):
        power = power * nilpotent * mp.mpf(tau) / k
        E = E + power
    E = E * mp.exp(-lam * mp.mpf(tau))
    start = mp.diag([mp.mpf(eps)] + [mp.mpf(aux)] * (n - 1))
    return E, mp.cholesky(mp.eye(n) + E * (start - mp.eye(n)) * E.T)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 10),
    exponent=st.floats(-5, math.log10(5)),
    aux=st.sampled_from([0.0, 0.04, 0.08, 1.0, 10.0]),
    eps=st.sampled_from([0.0, 1e-6, 1e-3]),
    place=st.floats(0, 1),
)
def test_kernel_against_300_digits(n: int, exponent: float, aux: float, eps: float, place: float) -> None:
    """From t = 1e-5 to T: the diagonal of L relatively, E in units of its row's largest entry; direct and tabulated."""
    process, t = HOLD(order=n, aux_variance=aux, epsilon_num=eps, t_min=1e-5).process(), 10**exponent
    with mp.workdps(300):
        E, L = exact(n, t, aux, eps)
        want_E, want_L = (np.array(m.tolist(), dtype=float) for m in (E, L))
    rows = np.abs(want_E).max(1)
    bound = 1e-12 if n <= 6 else 1e-10
    got_E, direct = process.transition(times(t))[0].numpy(), process.kernel(times(t))
    np.testing.assert_allclose(got_E / rows[:, None], want_E / rows[:, None], rtol=0, atol=bound)
    np.testing.assert_allclose(direct.factor[0].diagonal(), np.diag(want_L), rtol=bound)
    scale = np.linalg.norm(want_L, axis=1, keepdims=True)
    np.testing.assert_allclose(direct.factor[0].numpy() / scale, want_L / scale, rtol=0, atol=bound)
    bound = 1e-6 if n <= 6 else 1e-4
    table = tabulated(process, t, place)
    np.testing.assert_allclose(table.factor[0].diagonal(), np.diag(want_L), rtol=bound)
    np.testing.assert_allclose(table.mean_coef[0].numpy() / rows, want_E[:, 0] / rows, rtol=0, atol=bound)
    for name in ("inverse", "whitened_mean"):
        got, want = (getattr(kernel, name)[0].numpy() for kernel in (table, direct))
        np.testing.assert_allclose(got / np.abs(want).max(), want / np.abs(want).max(), rtol=0, atol=bound)


def tabulated(process: LinearSDE, t: float, place: float) -> Kernel:
    """The kernel at t from a table of three panels of full width, t anywhere in them."""
    first = t * math.exp(-1.199 * place)
    last = first * math.exp(1.199)
    short = sde(
        process.F.tolist(),
        process.initial.tolist(),
        G=process.G.tolist(),
        horizon=last,
        t_min=first / last,
        prior=process.prior.tolist(),
    )
    return short.tabulated(times(t))


@EVERY
def test_table_of_every_bundled_process(process: LinearSDE) -> None:
    """All of [t_min, T], both ends too."""
    t = torch.logspace(math.log10(process.t_min), math.log10(process.horizon), 97, dtype=torch.float64)
    t = t.clamp(process.t_min, process.horizon)
    table, direct = process.tabulated(t), process.kernel(t)
    for name in ("mean_coef", "factor", "inverse", "whitened_mean"):
        got, want = (getattr(kernel, name).flatten(1) for kernel in (table, direct))
        size = want.abs().amax(1, keepdim=True)
        torch.testing.assert_close(got / size, want / size, rtol=0, atol=1e-10)
    assert (process.tabulated(t).log_snr.diff() < 0).all()


# ── generic F ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "process",
    [
        sde([[0.0, 1.0], [-1.0, -0.5]], [0.0, 0.1]),  # underdamped: complex eigenvalues
        sde([[0.0, 1.0], [-1.0, -5.0]], [0.1, 0.0]),  # overdamped
        sde([[-0.2, 1.0, 0.1], [-0.7, -0.1, 2.0], [0.0, -1.5, -3.0]], [0.0, 0.3, 0.2]),
    ],
    ids=["underdamped", "overdamped", "order3"],
)
def test_generic_drift(process: LinearSDE) -> None:
    for tau in (0.05, 0.7, 2.0):
        E, S = integrated(process, tau)
        L = process.cholesky(times(tau))[0]
        np.testing.assert_allclose(process.transition(times(tau))[0], E, rtol=0, atol=1e-11)
        np.testing.assert_allclose(L @ L.mT, S, rtol=0, atol=1e-11)


def test_underdamped_oscillator_in_closed_form() -> None:
    """F = [[0, 1], [−1, 0]] rotates: E = [[cos τ, sin τ], [−sin τ, cos τ]], Σ_qq = τ/2 − sin(2τ)/4 from rest."""
    process, tau = sde([[0.0, 1.0], [-1.0, 0.0]]), 1.3
    E, L = process.transition(times(tau))[0], process.cholesky(times(tau))[0]
    want = [[math.cos(tau), math.sin(tau)], [-math.sin(tau), math.cos(tau)]]
    np.testing.assert_allclose(E, want, rtol=0, atol=1e-14)
    assert L[0, 0].item() ** 2 == pytest.approx(tau / 2 - math.sin(2 * tau) / 4, rel=1e-12)


# ── relations ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("mass", [0.25, 1.0, 3.0])
def test_cld_is_hold2_in_other_units(mass: float) -> None:
    """After v → v/√M, CLD is HOLD(2) with b = β/√M, v_0 = γ (§1): the time of HOLD is β t / √M."""
    beta, gamma = 4.0, 0.04
    cld = CLD(beta=beta, mass=mass, gamma=gamma).process()
    hold = HOLD(order=2, aux_variance=gamma, horizon=beta / math.sqrt(mass)).process()
    t = times(1e-3, 0.01, 0.1, 0.6, 1.0)
    units = torch.diag(times(1.0, 1 / math.sqrt(mass)))
    scaled = t * beta / math.sqrt(mass)
    torch.testing.assert_close(units @ cld.cholesky(t), hold.cholesky(scaled), rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(cld.kernel(t).mean_coef @ units, hold.kernel(scaled).mean_coef, rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(cld.kernel(t).whitened_mean, hold.kernel(scaled).whitened_mean, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(cld.prior @ units.square(), hold.prior, rtol=1e-14, atol=0)
    t0, t1 = 0.01, 0.7
    there = hold.flow(t0 * beta / math.sqrt(mass), t1 * beta / math.sqrt(mass))
    torch.testing.assert_close(units @ cld.flow(t0, t1) @ units.inverse(), there, rtol=1e-10, atol=1e-13)


@EVERY
def test_rate_is_the_derivative_of_the_elapsed_time(process: LinearSDE) -> None:
    t = (times(0.01, 0.2, 0.9) * process.horizon).requires_grad_()
    (slope,) = torch.autograd.grad(process.elapsed(t).sum(), t)
    torch.testing.assert_close(process.rate(t.detach()), slope, rtol=1e-13, atol=0)


def test_drift_and_diffusion_of_cld() -> None:
    """b F and √b G, by hand (b = 4, M = ¼, Γ = 1): q̇ = 16 p, ṗ = −4 q − 16 p, noise √4 √2."""
    process = CLD().process()
    b = process.rate(times(0.5))
    torch.testing.assert_close(b * process.F, torch.tensor([[0.0, 16.0], [-4.0, -16.0]]).double())
    torch.testing.assert_close(b.sqrt() * process.G, torch.tensor([0.0, 2 * math.sqrt(2)]).double())


@EVERY
def test_kernel_is_consistent(process: LinearSDE) -> None:
    """inverse = L⁻¹, whitened_mean = L⁻¹ E[:, 0], SNR = E[:, 0]ᵀ Σ⁻¹ E[:, 0]; one time and many agree."""
    t = times(0.02, 0.3, 0.9) * process.horizon
    kernel = process.kernel(t)
    eye = torch.eye(process.order).double().expand(3, -1, -1)
    torch.testing.assert_close(kernel.factor @ kernel.inverse, eye, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        (kernel.factor @ kernel.whitened_mean[..., None])[..., 0], kernel.mean_coef, rtol=0, atol=1e-10
    )
    torch.testing.assert_close(kernel.log_snr, kernel.whitened_mean.square().sum(1).log(), rtol=1e-14, atol=0)
    one = process.kernel(t[1].item())
    for name in ("mean_coef", "factor", "inverse", "whitened_mean"):
        torch.testing.assert_close(
            getattr(kernel.take(torch.tensor([1])), name), getattr(one, name), rtol=1e-9, atol=1e-12
        )


@EVERY
def test_signal_fades(process: LinearSDE) -> None:
    """Noise is only ever added, so the signal-to-noise ratio falls from first time to last."""
    t = torch.logspace(-3, 0, 40, dtype=torch.float64).clamp(max=1) * process.horizon
    assert (process.kernel(t).log_snr.diff() < 0).all()


# ── flow ──────────────────────────────────────────────────────────────────────────────────────────────────────────
FLOW = 2e-6  # fourth-order Magnus steps of 1/24 in log τ: 5e-7 at worst, for order 5
PAIRS = [(1e-3, 1.0), (0.05, 0.06), (0.9, 0.1)]


@FLOWS
@pytest.mark.parametrize(("start", "end"), PAIRS)
def test_flow_moves_the_covariance(process: LinearSDE, start: float, end: float) -> None:
    """Ψ Σ(t0) Ψᵀ = Σ(t1), in units of the standard deviations at t1."""
    t0, t1 = start * process.horizon, end * process.horizon
    moved = process.flow(t0, t1) @ process.cholesky(times(t0))[0]
    L = process.cholesky(times(t1))[0]
    scale = L.norm(dim=1)
    got, want = (m @ m.mT / torch.outer(scale, scale) for m in (moved, L))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-7 if process is PROCESSES["order-5-complex"] else 2e-8)


@FLOWS
def test_flow_composes_and_reverses(process: LinearSDE) -> None:
    """Ψ(c, b) Ψ(b, a) = Ψ(c, a) and Ψ(a, b) Ψ(b, a) = I, whitened at both ends."""
    a, b, c = (x * process.horizon for x in (0.01, 0.2, 0.8))
    before = process.kernel(a).factor[0]
    after = process.kernel(c).inverse[0]
    two = after @ process.flow(b, c) @ process.flow(a, b) @ before
    one = after @ process.flow(a, c) @ before
    torch.testing.assert_close(two, one, rtol=0, atol=FLOW)
    back = process.kernel(a).inverse[0] @ process.flow(b, a) @ process.flow(a, b) @ before
    torch.testing.assert_close(back, torch.eye(process.order).double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["vp", "ve", "cld", "hold2", "hold3", "hold4"])
def test_flow_matches_numerical_integration(name: str) -> None:
    """dΨ/dτ = (F + ½ G Gᵀ Σ⁻¹) Ψ, the probability-flow ODE (§1) with the score −Σ⁻¹ (u − E[:, 0] q_0)."""
    process = BUNDLED[name].process()
    n = process.order
    t0, t1 = 0.05 * process.horizon, 0.7 * process.horizon
    tau0, tau1 = process.elapsed(times(t0, t1)).tolist()
    F, G = process.F.numpy(), process.G.numpy()

    def slope(tau: float, flat: np.ndarray) -> np.ndarray:
        L = process._kernel(times(tau)).factor[0].numpy()
        return ((F + 0.5 * np.outer(G, np.linalg.solve(L @ L.T, G))) @ flat.reshape(n, n)).ravel()

    want = solve_ivp(slope, (tau0, tau1), np.eye(n).ravel(), method="DOP853", rtol=1e-9, atol=1e-12).y[:, -1]
    before, after = process.kernel(t0).factor[0].numpy(), process.kernel(t1).inverse[0].numpy()
    got = after @ process.flow(t0, t1).numpy() @ before
    np.testing.assert_allclose(got, after @ want.reshape(n, n) @ before, rtol=0, atol=FLOW)


@pytest.mark.parametrize("name", ["vp", "ve", "hold1"])
def test_flow_of_order_one_is_a_ratio(name: str) -> None:
    process = BUNDLED[name].process()
    t0, t1 = 0.2 * process.horizon, 0.9 * process.horizon
    ratio = (process.cholesky(times(t1)) / process.cholesky(times(t0))).item()
    assert process.flow(t0, t1).item() == pytest.approx(ratio, rel=1e-13)


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────
STABLE = [[0.0, 1.0], [-1.0, -2.0]]


@pytest.mark.parametrize(
    ("F", "changes", "reason"),
    [
        ([[0.1]], {}, "growing mode"),
        ([[0.0, 1.0], [1.0, 0.0]], {}, "growing mode"),
        ([[math.nan]], {}, "F holds a value that is not finite"),
        (STABLE, {"G": [0.0, math.inf]}, "G holds a value that is not finite"),
        (STABLE, {"initial": [0.0, math.nan]}, "initial holds a value that is not finite"),
        (STABLE, {"prior": [math.inf, 1.0]}, "prior holds a value that is not finite"),
        ([[0.0, 1.0]], {"G": [0.0, 1.0]}, "F has shape"),
        (STABLE, {"initial": [0.0]}, "initial has shape"),
        (STABLE, {"prior": [1.0] * 3}, "prior has shape"),
        (STABLE, {"initial": [0.0, -0.1]}, "initial variances"),
        (STABLE, {"prior": [1.0, 0.0]}, "prior variances"),
        (STABLE, {"G": [0.0, 0.0]}, "G must drive the last variable"),
        (STABLE, {"G": [1.0, 1.0]}, "G must drive the last variable"),
        (STABLE, {"elapsed": lambda t: 1 - t}, "schedule"),
        (STABLE, {"elapsed": torch.ones_like}, "schedule"),
        (STABLE, {"elapsed": lambda t: t - 1}, "schedule"),
        (STABLE, {"elapsed": lambda t: t * math.nan}, "schedule"),
        (STABLE, {"elapsed": lambda t: 2 * t}, "elapsed is not the integral of rate"),
        (STABLE, {"rate": lambda t: -torch.ones_like(t)}, "rate"),
        (STABLE, {"rate": lambda t: t * math.nan}, "rate"),
        (STABLE, {"rate": lambda t: 1.0}, "rate must map a tensor"),
        ([[5e-7]], {"horizon": 1e9}, "growing mode"),
        (None, {"G": [0.0, 1.0], "initial": [0.0], "prior": [1.0]}, "must be lists of numbers"),
        (STABLE, {"G": [[0.0, 1.0]]}, "G has shape"),
        (STABLE, {"horizon": 0.0}, "horizon"),
        (STABLE, {"horizon": math.inf}, "horizon"),
        (STABLE, {"t_min": 0.0}, "t_min"),
        (STABLE, {"t_min": 1.0}, "t_min"),
        (STABLE, {"t_min": math.nan}, "t_min"),
    ],
)
def test_invalid_processes_are_refused(F: list[list[float]], changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        sde(F, **changes)


def test_times_outside_the_table_are_refused() -> None:
    process = HOLD(order=2).process()
    for t in (1e-3, 5.1, -1.0, math.nan):
        with pytest.raises(ValueError, match="the table ends"):
            process.tabulated(times(t))
        if t < 0 or math.isnan(t):
            with pytest.raises(ValueError, match="must be positive and finite"):
                process.kernel(times(t))


def test_many_oscillations_are_tabulated() -> None:
    """The panels follow the frequencies of F."""
    process = sde([[0.0, 1.0], [-1.0, -0.01]], [0.0, 0.1], horizon=300.0)
    t = torch.linspace(200.0, 300.0, 50, dtype=torch.float64)
    torch.testing.assert_close(process.tabulated(t).mean_coef, process.kernel(t).mean_coef, rtol=0, atol=1e-6)


def test_the_process_that_refusals_vary_is_valid() -> None:
    assert sde(STABLE).order == 2
    assert sde(STABLE, t_min=0.01).t_min == pytest.approx(0.02)


@pytest.mark.parametrize(
    "defense", [CLD(beta=150), VP(beta_max=1000), HOLD(order=4, horizon=50), HOLD(order=6, horizon=50)]
)
def test_long_horizons_end_in_the_prior(defense: CLD | VP | HOLD) -> None:
    """Far beyond the process' memory Σ is the stationary covariance, however large τ is."""
    process = defense.process()
    L = process.cholesky(times(process.horizon))[0]
    np.testing.assert_allclose(L @ L.mT, torch.diag(process.prior), atol=1e-11)


@pytest.mark.parametrize("options", [{"order": 8}, {"order": 6, "t_min": 1e-5}, {"order": 6, "aux_variance": 0.0}])
def test_states_that_double_precision_cannot_hold_are_refused(options: dict[str, float]) -> None:
    """The kernel is exact at any order, but q_0 is rounded to 1e-16 of itself: noise below that is lost."""
    with pytest.raises(MibenchError, match=r"rounding a state .* raise t_min"):
        Model(HOLD(**options).process(), ExactDenoiser(torch.zeros(1, 2)), (2,))
    Model(HOLD(**(options | {"t_min": 0.1})).process(), ExactDenoiser(torch.zeros(1, 2)), (2,))


def test_a_drift_that_leaves_variables_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="does not reach every variable"):
        LinearSDE(
            [[0.0, 0.0], [0.0, -1.0]],
            [0.0, 1.0],
            rate=torch.ones_like,
            elapsed=torch.clone,
            horizon=1.0,
            initial=[0.0, 0.0],
            prior=[1.0, 1.0],
        )
