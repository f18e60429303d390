"""Measures that change the released model: noise on its answers, and rounding."""

import pytest
import torch
from scipy.stats import kstest

from mibench import defense
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.evaluate.isolation import isolated
from mibench.recipe import Recipe
from mibench_defenses import HOLD, VP
from mibench_measures import OutputNoise, Round

POINTS = torch.randn(30, 2, 3, generator=torch.Generator().manual_seed(1))


def exact(process):
    return Model(process, ExactDenoiser(POINTS), (2, 3))


def released(measure, seed=0, process=None):
    with isolated(seed, "release"):
        return measure.release(exact(process or VP().process()))


def noise(model, u, t):
    """What was added to the answers of the exact model."""
    return model.eps(u, t) - exact(model.process).eps(u, t)


def states(model, count, seed=0):
    return torch.randn(count, *model.state_shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("process", [VP().process(), HOLD(order=2).process()])
def test_output_noise_is_normal_and_independent(process):
    model = released(OutputNoise(std=0.2), process=process)
    found = noise(model, states(model, 2000), 0.3).flatten(1) / 0.2
    assert kstest(found.flatten(), "norm").pvalue > 1e-3
    assert (torch.corrcoef(found.T) - torch.eye(6)).abs().max() < 0.1
    assert (found[1:] * found[:-1]).mean().abs() < 0.05  # from state to state
    other = noise(model, states(model, 2000), 0.31).flatten(1) / 0.2
    assert (found * other).mean().abs() < 0.05  # from time to time


def test_output_noise_is_a_function_of_state_time_and_secret():
    model, same, another = released(OutputNoise()), released(OutputNoise()), released(OutputNoise(), seed=1)
    u = states(model, 40)
    answer = model.eps(u, 0.3)
    assert torch.equal(answer, model.eps(u, 0.3)) and torch.equal(answer, same.eps(u, 0.3))
    assert not torch.isclose(answer, another.eps(u, 0.3)).any()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(model.eps(u[order], 0.3), answer[order])
    assert torch.allclose(torch.cat([model.eps(one[None], 0.3) for one in u]), answer)
    times = torch.full((40,), 0.3, dtype=torch.float64)
    assert torch.allclose(model.eps(u, times), answer)


def test_output_noise_outlives_rounding_and_not_another_draw():
    model = released(OutputNoise())
    u = states(model, 500)
    before = noise(model, u, 0.3)
    nearby = noise(model, u + 1e-7 * states(model, 500, seed=1), 0.3)
    kept = torch.isclose(before, nearby, atol=1e-9).flatten(1).all(1)
    assert kept.double().mean() > 0.99
    moved = noise(model, u + 0.05 * states(model, 500, seed=1), 0.3)
    assert not torch.isclose(before, moved).flatten(1).all(1).any()
    assert (before * moved).mean().abs() < 0.05 * 0.1**2 * 3


@pytest.mark.parametrize("unit", [0.1, 0.25, 3.0])
def test_rounded_answers_are_multiples(unit):
    model = released(Round(unit=unit))
    u = states(model, 50)
    steps = model.eps(u, 0.3) / unit
    assert torch.allclose(steps, steps.round(), atol=1e-9)
    assert (noise(model, u, 0.3).abs() <= unit / 2 + 1e-9).all()


@pytest.mark.parametrize("measure", [OutputNoise(), Round()])
def test_gradients_are_those_of_the_model(measure):
    u, vectors = states(exact(VP().process()), 5), torch.ones(1, 2, 3, dtype=torch.float64)
    answer, products = released(measure).eps_vjp(u, 0.3, vectors)
    _, expected = exact(VP().process()).eps_vjp(u, 0.3, vectors)
    assert torch.allclose(products, expected)
    assert torch.allclose(answer, released(measure).eps(u, 0.3), atol=1e-12)


@pytest.mark.parametrize("measure", ["output-noise", "round"])
def test_the_release_is_no_network_and_knows_its_scale(measure):
    objective = defense(f"vp+{measure}")
    model = objective.release(objective.build_model((2,), 0.7, Recipe(width=8, depth=1)))
    assert not isinstance(model.denoiser, torch.nn.Module)
    assert model.data_variance == pytest.approx(0.7)
    assert objective.control.label == objective.label


def test_rounding_comes_after_noise():
    objective = defense("vp+round:unit=0.5+output-noise:std=2.0")
    assert objective.label == "vp+output-noise:std=2.0+round:unit=0.5"
    model = objective.release(exact(VP().process()))
    steps = model.eps(states(model, 20), 0.3) / 0.5
    assert torch.allclose(steps, steps.round(), atol=1e-9)
