"""Training together: the losses, weights and averages of training one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mibench import Defense, Model, Recipe
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import network_of
from mibench.diffusion.optimise import Callbacks, adam
from mibench.diffusion.stacked import StackedTrainer, can_stack, clip_each, measure_speed, train_stacked
from mibench.diffusion.training import SingleTrainer, train
from mibench.measures import measured
from mibench_datasets import Digits
from mibench_defenses import HOLD, VP
from mibench_measures import Jitter, WeightDecay

torch.set_num_threads(1)

RECIPE = Recipe(steps=100, batch=16, width=24, depth=2)
DATA = split(Digits(members=200, nonmembers=10, reference=10), 0).members
SIZES = (20, 35, 27)
MEMBERS = [DATA[50 * k : 50 * k + size] * (1 + 0.2 * k) for k, size in enumerate(SIZES)]
SEEDS = (3, 4, 5)
KINDS = [VP(), VP(parameterisation="sufficient"), HOLD(order=3), HOLD(order=3, parameterisation="sufficient")]


def blank(defense: Defense, recipe: Recipe = RECIPE) -> list[Model]:
    return [
        defense.build_model(tuple(part.shape[1:]), part.double().square().mean().item(), recipe, seed=k)
        for k, part in enumerate(MEMBERS)
    ]


def states(models: list[Model]) -> list[dict[str, Tensor]]:
    return [copy.deepcopy(network_of(model).state_dict()) for model in models]


@pytest.mark.parametrize("defense", KINDS, ids=[kind.label for kind in KINDS])
@pytest.mark.parametrize("fourier", [0, 8])
def test_the_losses_are_those_of_one_by_one(defense: Defense, fourier: int) -> None:
    """Step by step, over 100 steps; data, data variance, weights, Fourier features and draws differ between models."""
    recipe = RECIPE.model_copy(update={"fourier": fourier, "clip": 0.5})
    together = StackedTrainer(defense, blank(defense, recipe), MEMBERS, recipe, SEEDS)
    alone = [
        SingleTrainer(defense, model, MEMBERS[k], recipe, SEEDS[k]) for k, model in enumerate(blank(defense, recipe))
    ]
    one, many = adam(together, recipe), [adam(task, recipe) for task in alone]
    for _ in range(100):
        expected = torch.stack([task.step(each) for task, each in zip(alone, many, strict=True)])
        torch.testing.assert_close(together.step(one), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "defense",
    [VP(), HOLD(order=2, parameterisation="sufficient"), measured(VP(), [Jitter(), WeightDecay(rate=1)])],
    ids=["vp", "hold2", "jitter"],
)
def test_models_and_facts_are_those_of_one_by_one(defense: Defense) -> None:
    one, many = blank(defense), blank(defense)
    calls: list[tuple[int, int]] = []
    facts = train_stacked(defense, one, MEMBERS, RECIPE, SEEDS, Callbacks(lambda *call: calls.append(call)))
    for k, model in enumerate(many):
        expected = train(defense, model, MEMBERS[k], RECIPE, SEEDS[k])
        assert facts[k] == pytest.approx(expected, abs=1e-4)
        torch.testing.assert_close(states(one)[k], states(many)[k], rtol=0, atol=1e-4)
    assert calls == [(100, 100)]
    assert not any(network_of(model).training for model in one)


def test_snapshots_are_the_models_so_far() -> None:
    """One by one and together; a snapshot is a copy, the last is the final model, and asking changes nothing."""
    defense, models = VP(), blank(VP())
    kept: dict[tuple[int, int], dict[str, Tensor]] = {}
    train_stacked(
        defense,
        models,
        MEMBERS,
        RECIPE,
        SEEDS,
        Callbacks(snapshots=(1, 40, 100), keep=lambda k, n, s: kept.update({(k, n): s})),
    )
    assert sorted(kept) == [(k, n) for k in range(3) for n in (1, 40, 100)]
    alone, plain = blank(defense)[1], blank(defense)[1]
    own: dict[int, dict[str, Tensor]] = {}
    callbacks = Callbacks(snapshots=(1, 40, 100), keep=lambda k, n, s: own.update({n: s}))
    train(defense, alone, MEMBERS[1], RECIPE, SEEDS[1], callbacks)
    train(defense, plain, MEMBERS[1], RECIPE, SEEDS[1])
    torch.testing.assert_close(states([alone])[0], states([plain])[0], rtol=0, atol=0)
    torch.testing.assert_close(own[100], states([alone])[0], rtol=0, atol=0)
    for k in range(3):
        torch.testing.assert_close(kept[k, 100], states(models)[k], rtol=0, atol=0)
    for n in (1, 40, 100):
        torch.testing.assert_close(kept[1, n], own[n], rtol=0, atol=1e-4)
    assert (own[1]["network.enter.weight"] - own[40]["network.enter.weight"]).abs().max() > 1e-3


def test_every_model_is_clipped_by_itself() -> None:
    g = torch.Generator().manual_seed(0)
    gradients = torch.randn(3, 50, generator=g) * torch.tensor([0.01, 1, 100])[:, None]
    own = [nn.Parameter(torch.zeros(50)) for _ in range(3)]
    for parameter, gradient in zip(own, gradients, strict=True):
        parameter.grad = gradient.clone()
        nn.utils.clip_grad_norm_([parameter], 0.7)
    clip_each(gradients, 0.7)
    torch.testing.assert_close(
        gradients, torch.stack([parameter.grad for parameter in own if parameter.grad is not None])
    )


def test_measuring_leaves_models_and_generators_alone() -> None:
    models = blank(VP())
    before, state = states(models), torch.get_rng_state()
    speed = measure_speed(VP(), models, MEMBERS, RECIPE, SEEDS, steps=2, warmup=1)
    assert speed.single > 0 and speed.stacked > 0
    assert speed.pays == (speed.stacked < speed.single)
    torch.testing.assert_close(states(models), before, rtol=0, atol=0)
    assert all(p.grad is None for model in models for p in network_of(model).parameters())
    assert torch.equal(torch.get_rng_state(), state)


class OwnLoss(VP):
    def losses(self, *given: Any) -> Tensor:
        return 2 * super().losses(*given)


class OwnStep(VP):
    def step(self, *given: Any) -> Tensor:
        return super().step(*given)


def test_what_can_train_together() -> None:
    assert can_stack(VP()) and can_stack(HOLD(order=3))
    assert not can_stack(OwnLoss()) and not can_stack(OwnStep())
    models = blank(VP())
    assert can_stack(VP(), models)
    wider = blank(VP(), RECIPE.model_copy(update={"width": 32}))[0]
    assert not can_stack(VP(), [*models, wider])
    exact = Model(VP().process(), ExactDenoiser(MEMBERS[0]), models[0].shape)
    assert not can_stack(VP(), [*models, exact])
    network_of(models[0]).network = nn.Sequential(network_of(models[0]).network, nn.Dropout(0.1))
    assert not can_stack(VP(), models[:1])
    assert measure_speed(OwnLoss(), models[1:], MEMBERS[1:], RECIPE, SEEDS[1:], steps=1, warmup=0).stacked == float(
        "inf"
    )
    with pytest.raises(ValueError, match="cannot train together"):
        train_stacked(OwnLoss(), models[1:], MEMBERS[1:], RECIPE, SEEDS[1:])


class Branching(nn.Module):
    """A network that looks at its numbers, which cannot be done for several models at once."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        return self.scale * blocks[:, 0] if blocks.sum() > 0 else -self.scale * blocks[:, 0]


class Odd(VP):
    def network(self, *given: Any) -> nn.Module:
        return Branching()


def test_a_network_that_cannot_be_stacked_trains_one_by_one() -> None:
    speed = measure_speed(Odd(), blank(Odd()), MEMBERS, RECIPE, SEEDS, steps=1, warmup=0)
    assert speed.stacked == float("inf") and not speed.pays


def test_a_loss_that_is_not_finite_is_reported() -> None:
    members = [MEMBERS[0], MEMBERS[1] * float("nan"), MEMBERS[2]]
    with pytest.raises(FloatingPointError, match="step 100"):
        train_stacked(VP(), blank(VP()), members, RECIPE, SEEDS)


def test_the_data_variance_is_no_part_of_the_state() -> None:
    model = blank(VP())[0]
    assert isinstance(model.data_variance, float)
    assert model.data_variance == MEMBERS[0].double().square().mean().item()
    assert all(name.startswith("network.") for name in network_of(model).state_dict())
