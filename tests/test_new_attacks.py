"""Closed forms: the exact model of one point p answers ε_n + a_n (x − p) to every state, whatever the noise."""

import pytest
import torch

from mibench import IMAGE, POINTS
from mibench.context import Context
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.errors import NotApplicable
from mibench.names import build
from mibench.plugins import load

DEFENSES = ["vp", "ve", "hold2", "hold4"]
POINT = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64).view(1, 1, 8, 8)
X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attack(text):
    return build(load(), "attack", text)


def exact(defense, points=POINT):
    return Model(build(load(), "defense", defense).process(), ExactDenoiser(points), tuple(points.shape[1:]))


def images(**parts):
    return Context(0, modality=IMAGE, **parts)


def distance(x, p=2):
    return (x - POINT).flatten(1).norm(p=p, dim=1)


@pytest.mark.parametrize("defense", DEFENSES)
def test_sima_measures_the_distance_to_the_point(defense):
    model = exact(defense)
    gain = model.kernel(0.1 * model.process.horizon).whitened_mean[0, -1].abs()
    for path in ("mean", "draws"):
        found = attack(f"sima:path={path},times=[0.1]").score(model, X, images())["t=0.1"]
        torch.testing.assert_close(found, -gain * distance(X, 4))


def test_sima_sees_a_sample_at_rest_where_the_mean_path_is_another():
    model = exact("ve")
    rest, mean = (attack(f"sima:path={path}").score(model, X, images())["t=0.1"] for path in ("rest", "mean"))
    assert torch.equal(rest, mean)
    model = exact("hold2")
    rest, mean = (attack(f"sima:path={path}").score(model, X, images())["t=0.1"] for path in ("rest", "mean"))
    assert not torch.allclose(rest, mean)


@pytest.mark.parametrize("defense", DEFENSES)
def test_rediffuse_finds_the_point(defense):
    found = attack("rediffuse:draws=2").residuals(exact(defense), X, images())
    assert set(found) == {"t=0.05", "t=0.1", "t=0.2", "t=0.3"}
    for residual in found.values():
        torch.testing.assert_close(residual, X - POINT, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("defense", DEFENSES)
def test_pfami_is_the_rise_of_the_squared_distance(defense):
    """The loss at any time is a_n² ‖x − p‖²."""
    ctx, component = images(), attack("pfami:neighbours=3,times=[0.1,0.3]")
    moved = IMAGE.neighbours(X, 3, ctx.generator("neighbours"))
    rise = torch.stack([distance(x).square() / distance(X).square() - 1 for x in moved]).mean(0)
    for setting, found in component.score(exact(defense), X, ctx).items():
        torch.testing.assert_close(found, rise, rtol=1e-5, atol=1e-6, msg=setting)


@pytest.mark.parametrize("defense", DEFENSES)
def test_pian_scales_what_pia_finds(defense):
    model, component = exact(defense), attack("pian")
    first = component.first_answer(model, model.at_rest(X)).flatten(1)
    torch.testing.assert_close(first.abs().mean(1), torch.full((3,), 2 / torch.pi, dtype=torch.float64).sqrt())
    whole = attack("pia").first_answer(model, model.at_rest(X)).flatten(1)
    torch.testing.assert_close(first / first.norm(dim=1, keepdim=True), whole / whole.norm(dim=1, keepdim=True))


def test_pian_of_a_member_of_ve_is_finite():
    found = attack("pian").score(exact("ve"), POINT, images())
    assert all(torch.isfinite(values).all() for values in found.values())


def test_nearest_samples_are_those_of_the_context():
    samples = torch.stack([X[0] + k for k in range(12)])
    found = attack("nn:count=12").score(exact("vp"), X[:1], images(draw=lambda count: samples[:count]))
    torch.testing.assert_close(found["k=1"], torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(found["k=5"], torch.full((1,), -8.0 * (1 + 2 + 3 + 4), dtype=torch.float64))


def test_the_sum_of_the_loss_vector_is_that_of_logarithms():
    model, component = exact("vp"), attack("loss-vector:draws=2,times=[0.01,0.02]")
    component.fit(model, X, X + 1, images())
    gains = torch.tensor([model.kernel(t).whitened_mean[0, -1] for t in (0.01, 0.02)], dtype=torch.float64)
    losses = gains.square() * distance(X).square()[:, None] / 64
    torch.testing.assert_close(component.score(model, X, images())["sum"], -2 * losses.log().sum(1))


def test_the_classifier_of_the_loss_vector_learns_which_side_is_which():
    """Even where members have the larger losses."""
    model, component = exact("vp"), attack("loss-vector:draws=2")
    component.fit(model, POINT + 2 * X, POINT + X, images())
    scores = component.score(model, torch.cat([POINT + 2 * X, POINT + X]), images())
    assert scores["classifier"][:3].min() > scores["classifier"][3:].max()
    assert scores["sum"][:3].max() < scores["sum"][3:].min()


@pytest.mark.parametrize("base", ["secmi", "loss"])
def test_quantile_regression_covers(base):
    """Of fresh non-members about 1 − α lie beyond their α-quantile."""
    data = split(build(load(), "dataset", "digits"), 0)
    model, component = exact("vp", data.members[:30]), attack(f"quantile:base={base},levels=[0.5,0.8],components=4")
    ctx = images(auxiliary=data.reference[:600])
    component.fit(model, data.members[:30].double(), data.nonmembers[:30].double(), ctx)
    scores = component.score(model, data.nonmembers[30:330].double(), ctx)
    for level in (0.5, 0.8):
        assert abs((scores[f"q={level}"] > -1).double().mean().item() - (1 - level)) < 0.12


def test_quantile_regression_needs_auxiliary_data():
    with pytest.raises(NotApplicable, match="auxiliary"):
        attack("quantile").fit(exact("vp"), X, X, images())


def test_the_filter_keeps_low_frequencies_and_scales_high_ones():
    """A constant residual passes; a checkerboard is scaled; between them they add up."""
    model = exact("hold2")
    board = torch.ones(8, 8, dtype=torch.float64)
    board[::2, ::2] = board[1::2, 1::2] = -1
    flat, rough = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64), 0.5 * board[None, None]
    x = torch.cat([flat, rough, flat + rough]) + POINT
    component = attack("rediffuse:draws=1,times=[0.2]+filter:scale=0.2")
    found = component.score(model, x, images())["t=0.2"]
    torch.testing.assert_close(found, -16 * torch.tensor([1, 0.04, 1.04], dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_a_filter_of_scale_one_is_no_filter():
    model = exact("hold2", X)
    plain, filtered = (attack(text).score(model, X + 0.1, images()) for text in ("secmi", "secmi+filter:scale=1"))
    for setting, values in plain.items():
        torch.testing.assert_close(filtered[setting], values)


def test_the_filter_reports_the_setting_that_its_base_publishes():
    assert attack("secmi+filter").published == attack("secmi").published
    assert attack("rediffuse+filter").published == attack("rediffuse").published


def test_the_filter_is_for_images():
    with pytest.raises(NotApplicable, match="images"):
        attack("secmi+filter").score(exact("vp"), X, Context(0, modality=POINTS))


@pytest.mark.parametrize("defense", ["vp", "ve", "cld", "hold2", "hold4"])
def test_the_adaptive_grid_has_the_same_ratios_for_every_process(defense):
    process = exact(defense).process
    times = attack("adaptive")._times(process)
    assert len(times) >= 9
    for level, t in times.items():
        assert abs(process.kernel(t).log_snr.item() - level) < 1e-3


def test_the_adaptive_suite_standardises_by_the_nonmembers():
    model, component = exact("hold2"), attack("adaptive:draws=1,auxiliaries=1")
    outside = POINT + torch.linspace(0.5, 2, 9, dtype=torch.float64).view(9, 1, 1, 1) * X[:1]
    component.fit(model, POINT + 0.1 * X, outside, images())
    scores = component.score(model, outside, images())
    for family in ("loss", "pia", "pia drawn", "combined"):
        assert abs(scores[family].mean().item()) < 1e-9
    torch.testing.assert_close(scores["loss"].std(), torch.ones((), dtype=torch.float64), rtol=1e-3, atol=0)


def test_the_adaptive_suite_has_no_ratio_to_ask_for():
    with pytest.raises(NotApplicable, match="log SNR"):
        attack("adaptive:log_snr=[90,80]").fit(exact("vp"), X, X, images())


def test_over_all_blocks_the_residual_is_one_vector_times_the_error_of_the_estimate():
    """Why the adaptive suite needs no norm over all blocks: SecMI's residual, for one."""
    model = exact("hold3", torch.cat([POINT, -POINT, X]))
    t, after = 0.05, 0.15
    u = model.noised(2 * X, torch.zeros(3, 1, 8, 8, dtype=torch.float64), t)
    clean = model.predict_x0(u, model.eps(u, t), t)
    forth = model.step(u, clean, t, after)
    again = model.predict_x0(forth, model.eps(forth, after), after)
    residual = model.step(forth, again, after, t) - u
    shared = model.kernel(t).mean_coef[0] - model.process.flow(after, t) @ model.kernel(after).mean_coef[0]
    torch.testing.assert_close(residual, torch.einsum("i,b...->bi...", shared, again - clean), rtol=1e-6, atol=1e-9)
