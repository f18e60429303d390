"""Training: it learns, it is reproducible, and what is left is the moving average."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from scipy.stats import kstest, truncnorm
from torch import Tensor, nn

from mibench import Defense, Model, NoisedBatch, Recipe
from mibench.data import Split, split
from mibench.diffusion import process as process_module
from mibench.diffusion.denoisers import PlainDenoiser, SufficientDenoiser
from mibench.diffusion.losses import hybrid_score_matching, noised
from mibench.diffusion.optimise import Callbacks
from mibench.diffusion.training import SingleTrainer, time_table, train
from mibench_datasets import Digits
from mibench_defenses import CLD, HOLD, VE, VP

torch.set_num_threads(1)

RECIPE = Recipe(steps=150, batch=64, width=64, depth=1, ema=0.9)
SHORT = RECIPE.model_copy(update={"steps": 12})


@pytest.fixture(scope="module")
def digits() -> Split:
    return split(Digits(members=64, nonmembers=10, reference=10), 0)


def trained(defense: Defense, data: Split, recipe: Recipe, seed: int = 0) -> tuple[Model, dict[str, Any]]:
    model = defense.build_model(data.shape, data.data_variance, recipe, seed=seed)
    return model, train(defense, model, data.members, recipe, seed)


def weights(model: Model) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.denoiser.parameters()])


@torch.no_grad()
def loss_of(model: Model, members: Tensor) -> float:
    """The training loss of 16 noisings per member, with noise and times of its own."""
    g = torch.Generator().manual_seed(99)
    batch = members.double().repeat(16, 1, 1, 1)
    process = model.process
    t = process.t_min + (process.horizon - process.t_min) * torch.rand(len(batch), generator=g, dtype=torch.float64)
    kernel, eps = process.kernel(t), torch.randn(len(batch), *model.state_shape, generator=g).double()
    rows = torch.arange(len(batch))
    return hybrid_score_matching(model, NoisedBatch(noised(batch, kernel, eps), eps[:, -1], kernel, rows)).mean().item()


@pytest.mark.parametrize(
    "defense",
    [VP(), HOLD(order=2), HOLD(order=2, parameterisation="sufficient")],
    ids=["vp", "hold2-plain", "hold2-sufficient"],
)
def test_the_loss_falls(defense: Defense, digits: Split) -> None:
    model = defense.build_model(digits.shape, digits.data_variance, RECIPE)
    before = loss_of(model, digits.members)
    calls: list[tuple[int, int]] = []
    facts = train(defense, model, digits.members, RECIPE, 0, Callbacks(lambda done, total: calls.append((done, total))))
    after = loss_of(model, digits.members)
    assert after < 0.7 * before
    assert facts["loss"] == pytest.approx(after, rel=0.25)
    assert facts["steps"] == 150
    assert facts["epochs_per_member"] == 150 * 64 / 64
    assert facts["parameters"] == weights(model).numel()
    assert calls[-1] == (150, 150)
    assert not model.denoiser.training


def test_the_same_seed_gives_the_same_weights(digits: Split) -> None:
    state = torch.get_rng_state()
    first, facts = trained(HOLD(order=2), digits, SHORT)
    torch.rand(3)  # the global generator plays no part
    again, facts_again = trained(HOLD(order=2), digits, SHORT)
    other, _ = trained(HOLD(order=2), digits, SHORT, seed=1)
    assert torch.equal(weights(first), weights(again))
    assert facts == facts_again
    assert not torch.equal(weights(first), weights(other))
    torch.set_rng_state(state)


def test_training_leaves_the_global_generator_alone(digits: Split) -> None:
    before = torch.get_rng_state()
    trained(VP(), digits, SHORT)
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_of_weights_and_of_batches_are_apart(digits: Split) -> None:
    """One start, two seeds of batches and noise: other weights."""
    ends = []
    for seed in (0, 1):
        model = VP().build_model(digits.shape, digits.data_variance, SHORT, seed=0)
        train(VP(), model, digits.members, SHORT, seed)
        ends.append(weights(model))
    assert not torch.equal(*ends)


class Noisy(VP):
    """VP whose every step adds noise to the gradient."""

    name = "noisy"

    def step(self, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = training.loss(training.batch())
        optimizer.zero_grad()
        loss.backward()
        for p in training.parameters.values():
            p.grad += 0.1 * torch.randn(p.shape, generator=training.generator)
        optimizer.step()
        return loss.detach()


class Interrupted(Exception):
    pass


class Kept:
    """A sink that keeps the state of the fifth step, and ends the training there once."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] | None = None
        self.steps = 0

    def read(self) -> dict[str, Tensor] | None:
        return self.state

    def due(self) -> bool:
        self.steps += 1
        return self.steps == 5

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        assert done == 5
        self.state = {name: value.clone() for name, value in state.items()}
        raise Interrupted


def test_a_training_whose_steps_draw_noise_resumes_bit_for_bit(digits: Split) -> None:
    whole, _ = trained(Noisy(), digits, SHORT)
    sink = Kept()
    first, second = (Noisy().build_model(digits.shape, digits.data_variance, SHORT, seed=seed) for seed in (0, 1))
    with pytest.raises(Interrupted):
        train(Noisy(), first, digits.members, SHORT, 0, Callbacks(sink=sink))
    train(Noisy(), second, digits.members, SHORT, 0, Callbacks(sink=sink))  # its own initial weights play no part
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(whole), weights(trained(VP(), digits, SHORT)[0]))


class Watched(VP):
    """VP that notes the weights after every step."""

    name = "watched"
    seen: ClassVar[list[Tensor]] = []

    def step(self, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = super().step(training, optimizer)
        self.seen.append(weights(training.model).clone())
        return loss


@pytest.mark.parametrize("ema", [0.0, 0.5, 0.9])
def test_the_moving_average_is_what_is_left(ema: float, digits: Split) -> None:
    """a ← d a + (1 − d) w with d = min(ema, (k + 1)/(k + 10)) at step k, from the initial weights."""
    Watched.seen.clear()
    recipe = SHORT.model_copy(update={"ema": ema})
    start = weights(VP().build_model(digits.shape, digits.data_variance, recipe))
    model, _ = trained(Watched(), digits, recipe)
    assert len(Watched.seen) == 12
    average = start.double()
    for k, seen in enumerate(Watched.seen):
        decay = min(ema, (k + 1) / (k + 10))
        average = decay * average + (1 - decay) * seen.double()
    torch.testing.assert_close(weights(model).double(), average, rtol=0, atol=1e-6)
    apart = (weights(model) - Watched.seen[-1]).abs().max()
    assert apart == 0 if ema == 0 else apart > 1e-4


def test_a_loss_that_is_not_finite_is_reported(digits: Split) -> None:
    members = digits.members.clone()
    members[:] = math.nan
    with pytest.raises(FloatingPointError, match="step 12"):
        train(VP(), VP().build_model(digits.shape, 1.0, SHORT), members, SHORT, 0)


class Silent(nn.Module):
    """A network that answers 0."""

    def forward(self, blocks: Tensor, log_snr: Tensor) -> Tensor:
        return torch.zeros_like(blocks[:, 0])


@pytest.mark.parametrize("kind", [PlainDenoiser, SufficientDenoiser])
@pytest.mark.parametrize("order", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_an_untrained_network_has_loss_one(kind: type[nn.Module], order: int) -> None:
    """On Gaussian data, at any time: E ‖ε_n − skip‖² = c_out². 20 000 draws, so five standard errors are .05."""
    process = HOLD(order=order).process()
    g = torch.Generator().manual_seed(0)
    batch = 0.7 * torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    t = process.t_min + (process.horizon - process.t_min) * torch.rand(20_000, generator=g, dtype=torch.float64)
    kernel, eps = process.kernel(t), torch.randn(20_000, order, 1, generator=g).double()
    given = NoisedBatch(noised(batch, kernel, eps), eps[:, -1], kernel, torch.arange(20_000))
    loss = hybrid_score_matching(Model(process, kind(Silent(), 0.49), (1,)), given).mean()
    assert loss.item() == pytest.approx(1, abs=0.05)


def test_blank_models_follow_the_parameterisation() -> None:
    plain = HOLD(order=3).build_model((2,), 0.5, RECIPE)
    sufficient = HOLD(order=3, parameterisation="sufficient").build_model((2,), 0.5, RECIPE)
    assert isinstance(plain.denoiser, PlainDenoiser)
    assert isinstance(sufficient.denoiser, SufficientDenoiser)
    assert plain.denoiser.network.enter.in_features == 3 * 2
    assert sufficient.denoiser.network.enter.in_features == 2
    assert plain.denoiser.data_variance == 0.5


def test_a_training_step_decomposes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is tabulated once: exact kernels do not depend on the number of steps, and torch factorises none."""
    calls = {"exact": 0}
    true = process_module.exact

    def counted(*arguments: object) -> object:
        calls["exact"] += 1
        return true(*arguments)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a decomposition in a training step")

    monkeypatch.setattr(process_module, "exact", counted)
    for name in ("cholesky", "qr", "eigh", "svd", "inv", "solve", "matrix_exp", "solve_triangular"):
        monkeypatch.setattr(torch.linalg, name, forbidden)
    counts = []
    for steps in (2, 40):
        calls["exact"] = 0
        recipe = Recipe(steps=steps, batch=8, width=8, depth=1)
        model = HOLD(order=3).build_model((2,), 1.0, recipe)
        train(HOLD(order=3), model, torch.randn(20, 2), recipe, 0)
        counts.append(calls["exact"])
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("defense", [VP(), VE(), CLD(), HOLD(order=3)])
def test_training_times_can_be_normal_in_log_snr(defense: Defense) -> None:
    process = defense.process()
    table = time_table(process, Recipe(log_snr=(0.5, 2.0)), torch.device("cpu"))
    first, last = process.log_snr_range
    law = truncnorm((last - 0.5) / 2, (first - 0.5) / 2, loc=0.5, scale=2)
    assert kstest(table.log_snr.numpy(), law.cdf).statistic < 1e-3
    assert process.kernel(process.time_at(torch.tensor([1.5]).double())).log_snr.item() == pytest.approx(1.5, abs=1e-3)


def test_a_recipe_without_times_in_log_snr_is_written_as_it_always_was() -> None:
    assert "log_snr" not in Recipe().model_dump(mode="json")
    recipe = Recipe(log_snr=(0, 2))
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
