"""DP-SGD: its step on the same draws as a plain one, what it draws, what it claims, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mibench import Defense, Recipe, UsageError
from mibench.data import Split, split
from mibench.diffusion.model import network_of
from mibench.diffusion.optimise import Callbacks
from mibench.diffusion.training import SingleTrainer, train
from mibench.measures import Measure, measured
from mibench.names import build
from mibench.plugins import load
from mibench_datasets import Digits
from mibench_defenses import HOLD, VP
from mibench_measures import DPSGD, Dropout

MEMBERS = 12
MLP = Recipe(steps=20, batch=MEMBERS, width=32, depth=2)
UNET = MLP.model_copy(update={"network": "unet-tiny", "steps": 10})


@pytest.fixture(scope="module")
def digits() -> Split:
    return split(Digits(members=MEMBERS, nonmembers=10, reference=10), 0)


def training(defense: Defense, data: Split, recipe: Recipe) -> SingleTrainer:
    trained = defense.adapt_recipe(recipe)
    model = defense.build_model(data.shape, data.data_variance, trained)
    network_of(model).train()
    return SingleTrainer(defense, model, data.members, trained, 0)


class Silent(torch.optim.SGD):
    """Takes no step, so that the gradient can be looked at."""

    def step(self, *given: Any) -> None: ...


def gradient(task: SingleTrainer) -> Tensor:
    return torch.cat([p.grad.flatten() for p in task.parameters.values() if p.grad is not None])


@pytest.mark.parametrize("more", [[], [Dropout(p=0.3)]], ids=["alone", "dropout"])
@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize(("base", "recipe"), [(HOLD(order=2), MLP), (VP(), UNET)], ids=["mlp", "unet-tiny"])
def test_without_noise_and_clipping_the_step_is_the_plain_one(
    base: Defense, recipe: Recipe, draws: int, more: list[Measure], digits: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All members in the step, noise 1e-9 of a clip of 1e3 that no gradient reaches: the mean gradient of the same draws.

    Dropout leaves out other units there than in a plain step, so that it is compared with its masks set to 1.
    """
    if more:
        monkeypatch.setattr(nn.functional, "dropout", lambda x, *given: x)
    private = training(
        measured(base, [DPSGD(noise=1e-9, clip=1e3, draws=draws, chunk=5, steps=1), *more]), digits, recipe
    )
    optimizer = Silent(private.parameters.values())
    private.step(optimizer)
    plain = training(measured(base, more), digits, recipe)
    plain.objective = private.objective  # the same rows
    plain.model.denoiser.load_state_dict(private.model.denoiser.state_dict())
    loss = plain.loss(plain.batch(draws))
    loss.backward()
    expected = gradient(plain)
    assert (gradient(private) - expected).norm() < 2e-4 * expected.norm()


def test_the_noise_has_the_scale_of_the_claim(digits: Split) -> None:
    """Far more noise than gradient: its standard deviation is σ clip / expected batch, to 1 %."""
    defense = measured(VP(), [DPSGD(noise=500.0, clip=0.2, batch=6)])
    task = training(defense, digits, MLP.model_copy(update={"width": 128}))
    task.step(Silent(task.parameters.values()))
    found = gradient(task)
    assert len(found) > 50_000
    assert found.std().item() == pytest.approx(500 * 0.2 / 6, rel=0.01)


def test_members_are_sampled_by_poisson() -> None:
    """Each member by itself with probability q: the size of a batch is binomial, and no member stands twice."""
    measure, generator = DPSGD(noise=1.0), torch.Generator().manual_seed(0)
    recipe = MLP.model_copy(update={"batch": 30})
    drawn = [measure.rows(VP(), 100, recipe, generator) for _ in range(2000)]
    assert all(len(rows) == len(rows.unique()) for rows in drawn)
    sizes = torch.tensor([float(len(rows)) for rows in drawn])
    assert sizes.mean().item() == pytest.approx(30, abs=5 * math.sqrt(21 / 2000))
    assert sizes.var().item() == pytest.approx(21, rel=0.2)
    counts = torch.bincount(torch.cat(drawn), minlength=100) / 2000
    assert (counts - 0.3).abs().max() < 5 * math.sqrt(0.21 / 2000)
    everyone = measure.rows(VP(), 30, recipe, generator)
    assert torch.equal(everyone, torch.arange(30))


def test_an_empty_batch_steps(digits: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise alone is added, else the absence of everyone would show."""
    monkeypatch.setattr(DPSGD, "rows", lambda *given: torch.zeros(0, dtype=torch.int64))
    task = training(measured(VP(), [DPSGD(noise=2.0)]), digits, MLP)
    loss = task.step(Silent(task.parameters.values()))
    assert loss.item() == 0 and gradient(task).norm() > 0


def test_no_member_leaves_a_trace_in_the_states_of_another(digits: Split) -> None:
    """A measure that mixes its batch without saying so is given one member at a time."""

    class Mixing(Measure):
        """Adds the mean of what it is given."""

        name = "mixing"
        stage = "data"

        def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
            assert x.shape[0] == 4 and (x == x[:1]).all()
            return x + x.mean(0)

    task = training(measured(VP(), [Mixing(), DPSGD(noise=1.0, draws=4)]), digits, MLP)
    task.step(Silent(task.parameters.values()))


class Interrupted(Exception):
    pass


class Kept:
    """Keeps the state of the second step, and ends the training there once."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] | None = None
        self.steps = 0

    def read(self) -> dict[str, Tensor] | None:
        return self.state

    def due(self) -> bool:
        self.steps += 1
        return self.steps == 2

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        self.state = {name: value.clone() for name, value in state.items()}
        raise Interrupted


def test_an_interrupted_training_resumes_bit_for_bit(digits: Split) -> None:
    defense = measured(VP(), [DPSGD(noise=1.0, batch=6, steps=0.3), Dropout()])
    recipe, sink, models = defense.adapt_recipe(MLP), Kept(), []
    assert recipe.steps == 6
    for callbacks in (Callbacks(), Callbacks(sink=sink), Callbacks(sink=sink)):
        model = defense.build_model(digits.shape, digits.data_variance, recipe)
        try:
            train(defense, model, digits.members, recipe, 0, callbacks)
        except Interrupted:
            continue
        models.append(network_of(model).state_dict())
    assert len(models) == 2 and all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_the_claim_is_that_of_its_steps() -> None:
    """Calibrated to the whole training; a checkpoint has spent less."""
    defense = build(load(), "defense", "vp+dp-sgd:epsilon=8,batch=50,steps=1")
    assert isinstance(defense, Defense)
    recipe = defense.adapt_recipe(MLP.model_copy(update={"steps": 100}))
    whole, half = defense.claim(100, recipe), defense.claim(100, recipe, 50)
    assert whole and half and whole.epsilon and half.epsilon
    assert whole.epsilon == pytest.approx(8, abs=1e-3) and half.epsilon < 7 and half.noise == whole.noise
    assert (whole.rate, whole.steps, half.steps, whole.draws) == (0.5, 100, 50, 4)
    assert VP().claim(100, recipe) is None
    nothing = measured(VP(), [DPSGD(noise=0.01)]).claim(100, recipe)
    assert nothing and nothing.epsilon is None


def test_fewer_and_larger_steps() -> None:
    recipe = DPSGD(batch=8, steps=0.25, learning_rate=None).adapt_recipe(MLP)
    assert (recipe.steps, recipe.batch, recipe.learning_rate, recipe.clip) == (5, 8, MLP.learning_rate, 0.3)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="a step would take 64 of 12 members"):
        DPSGD().check(VP(), Digits(members=MEMBERS), MLP.model_copy(update={"batch": 64}))
    for text, words in {
        "vp+dp-sgd:epsilon=0": "must be above 0",
        "vp+dp-sgd:epsilon=1,noise=2": "give epsilon or noise, not both",
        "vp+dp-sgd:delta=1": "must be below 1",
        "vp+dp-sgd+dp-sgd": "the measure 'dp-sgd' is given twice",
    }.items():
        with pytest.raises(UsageError, match=words):
            build(load(), "defense", text)
    with pytest.raises(UsageError, match="no noise gives epsilon"):
        measured(VP(), [DPSGD(epsilon=1e-9, delta=1e-15)]).claim(100, MLP)
