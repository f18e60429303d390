"""Data whose network is given a condition beside the states of a sample."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benches import cell, made
from torch import nn

import mibench
from mibench import POINTS, Dataset, MibenchError, UsageError
from mibench.auditing.export import export_diffusers
from mibench.data import completed, completed_split, split
from mibench.diffusion import model as model_module
from mibench.diffusion.guidance import guided
from mibench.diffusion.model import Cost
from mibench.diffusion.networks import Conditioned, conditioned
from mibench.diffusion.sampling import sample
from mibench.diffusion.stacked import can_stack
from mibench.diffusion.training import train
from mibench.errors import NotApplicable
from mibench.names import build
from mibench.plugins import load
from mibench.recipe import Recipe
from mibench.results.record import read_record
from mibench.results.store import Store
from mibench.suite.cells import Utility
from mibench_attacks.pia import PIA
from mibench_datasets import Digits, DigitsByClass
from mibench_defenses import HOLD, VP

from mibench.context import Context  # isort: skip


class Told(Dataset):
    """Points near one of two places, and the place as the condition."""

    name = "told"
    modality = POINTS

    def pool(self, generator):
        places, noise = self._places(generator)
        return places + 0.05 * noise

    def conditions(self, generator):
        places, _ = self._places(generator)
        return places, places[:7]

    def complete(self, x, conditions):
        return x + conditions

    def _places(self, generator):
        size = self.members + self.nonmembers + self.reference
        side = torch.randint(2, (size, 1), generator=generator) * 2.0 - 1
        return side.expand(-1, 2).clone(), torch.randn(size, 2, generator=generator)


DATA = split(Told(members=40, nonmembers=40, reference=40), 0)
RECIPE = Recipe(steps=60, batch=32, width=24, depth=2, learning_rate=5e-3)


def built(defense):
    conditions = DATA.condition_of(DATA.members)
    model = defense.build_model(DATA.shape, DATA.data_variance, RECIPE, conditions=conditions)
    model.condition_of = DATA.condition_of
    return model


def test_the_split_keeps_each_condition_beside_its_sample():
    for part in (DATA.members, DATA.nonmembers, DATA.reference):
        assert torch.equal(DATA.condition_of(part.double()), part.sign())
    assert DATA.condition_of(torch.cat([DATA.members[:3], torch.zeros(1, 2)])) is None
    assert DATA.draw_prompts(100, torch.Generator().manual_seed(0)).shape == (100, 2)
    assert torch.equal(completed_split(Told(), DATA).nonmembers, DATA.nonmembers + DATA.nonmembers.sign())
    assert torch.equal(completed(Told(), DATA, DATA.members, torch.empty(0)), DATA.members)


def test_a_network_that_is_told_learns_what_another_cannot():
    told, bare = built(VP()), VP().build_model(DATA.shape, DATA.data_variance, RECIPE)
    losses = [train(VP(), model, DATA.members, RECIPE, 0)["loss"] for model in (told, bare)]
    assert losses[0] < 0.6 * losses[1]
    assert not can_stack(VP(), [told, built(VP())])
    assert set(told.denoiser.state_dict()) - set(bare.denoiser.state_dict()) >= {"network.shift", "network.scale"}


@pytest.mark.slow
def test_private_training_sees_the_conditions():
    private = build(load(), "defense", "vp+dp-sgd:noise=0.001,batch=40,clip=10,steps=1")
    told, bare = built(VP()), VP().build_model(DATA.shape, DATA.data_variance, RECIPE)
    recipe = private.adapt_recipe(RECIPE)
    losses = [train(private, model, DATA.members, recipe, 0)["loss"] for model in (told, bare)]
    assert losses[0] < 0.6 * losses[1]


def test_teachers_are_refused_in_one_line(tmp_path):
    distilled = replace(
        cell(defense="vp+distill", model="trained"), dataset=Told(members=40, nonmembers=40, reference=40)
    )
    with pytest.raises(MibenchError, match="trains teachers, which are given no conditions; use data without texts$"):
        made([distilled], Store(tmp_path))


def test_answers_are_under_the_condition_of_the_sample(monkeypatch):
    model = built(HOLD(order=2))
    x, t = DATA.members[:6].double(), 0.5
    u = model.noised(x, torch.randn(model.state_shape).double(), t)
    with torch.no_grad():
        want = model.eps(u, t)
        model.noised(x + 1e-3, torch.zeros(model.state_shape).double(), t)  # of unknown samples: nothing changes
        assert torch.equal(model.eps(u, t), want)
        model.under(x.sign()[:5])
        with pytest.raises(MibenchError, match="6 states under 5 conditions") as caught:
            model.eps(u, t)
        model.at_rest(x)
        monkeypatch.setattr(model_module, "AT_ONCE", 4)  # two states at a time
        torch.testing.assert_close(model.eps(u, t), want)
        model.under(-x.sign())
        assert not torch.allclose(model.eps(u, t), want)
    assert "\n" not in str(caught.value)
    model.under(x.sign())
    vectors = torch.ones(1, 2, dtype=torch.float64)
    _, whole = model.eps_vjp(u, t, vectors)
    monkeypatch.setattr(type(model), "_rows", lambda self, u, t: 4)
    torch.testing.assert_close(model.eps_vjp(u, t, vectors)[1], whole)


def test_attacks_need_not_know():
    """Scores of a batch are those of its halves, whatever was scored before; under other conditions they are others."""
    model, x = built(HOLD(order=2)), DATA.members[8:20].double()
    attack = PIA(times=(0.1,))
    with torch.no_grad():
        attack.score(model, DATA.nonmembers[:9].double(), Context(0))  # as a fit does, on other samples
        together = attack.score(model, x, Context(0))["mean"]
        halves = [attack.score(model, part, Context(0))["mean"] for part in torch.split(x, 6)]
    torch.testing.assert_close(torch.cat(halves), together, rtol=1e-3, atol=1e-5)
    blind = copy.copy(model)
    blind.condition_of = lambda x: -x.sign()
    assert not torch.allclose(PIA().score(blind, x, Context(0))["mean"], PIA().score(model, x, Context(0))["mean"])


def test_order_1_under_a_mean_of_zero_is_vp_on_the_residual():
    """The same network without the columns of the condition gives the same answers; the first layer is all that differs."""
    torch.manual_seed(0)
    told = VP().build_model((3,), 1.0, Recipe(width=16), conditions=torch.zeros(20, 3))
    bare = VP().build_model((3,), 1.0, Recipe(width=16))
    network = conditioned(told.denoiser)
    assert isinstance(network, Conditioned) and isinstance(network.network.enter, nn.Linear)
    weights = network.network.state_dict()
    weights["enter.weight"] = weights["enter.weight"][:, :3]
    weights["frequencies"] = weights["frequencies"][:3]
    bare.denoiser.network.load_state_dict(weights)
    told.under(torch.zeros(8, 3))
    u = torch.randn(8, 1, 3, dtype=torch.float64)
    for t in (1e-3, 0.1, 1.0):
        torch.testing.assert_close(told.eps(u, t), bare.eps(u, t), rtol=0, atol=1e-6)


def test_a_mel_reverts_to_its_mean_as_in_grad_tts():
    """2105.06337, eqs. 4 and 5 with Σ = I, β from .05 to 20: q = X − μ follows VP, so X_t = μ + u_t."""
    x, mean = torch.randn(2, 50, dtype=torch.float64)
    process = VP(beta_min=0.05).process()
    t = torch.tensor([0.01, 0.3, 1.0], dtype=torch.float64)
    kernel, decay = process.kernel(t), torch.exp(-0.5 * (0.05 * t + (20 - 0.05) * t**2 / 2))
    ours = mean + kernel.mean_coef[:, 0, None] * (x - mean)
    torch.testing.assert_close(ours, (1 - decay)[:, None] * mean + decay[:, None] * x, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(kernel.factor[:, 0, 0].square(), 1 - decay**2, rtol=1e-6, atol=1e-9)


def of_classes(recipe):
    """Digits 0 to 9 as single numbers with a class each, and a model that learns them."""
    data = split(DigitsByClass(members=60, nonmembers=60, reference=60), 0)
    model = VP().build_model(data.shape, data.data_variance, recipe, conditions=data.condition_of(data.members))
    model.condition_of = data.condition_of
    model.denoiser.eval()
    return data, model


def test_classes_stand_beside_their_digits_and_change_nothing_else():
    data, bare = split(DigitsByClass(), 3), split(Digits(), 3)
    assert torch.equal(data.members, bare.members) and torch.equal(data.reference, bare.reference)
    known = {image.tobytes(): int(kind) for image, kind in zip(*digits_as_read(), strict=True)}
    told = data.condition_of(data.nonmembers).argmax(1).tolist()
    assert told == [known[image.numpy().tobytes()] for image in data.nonmembers]
    assert data.prompts.shape == (1797, 10) and (data.conditions.sum(1) == 1).all()
    with pytest.raises(UsageError, match="canaries have no class"):
        build(load(), "dataset", "digits-by-class:canaries=20")


def digits_as_read():
    from sklearn.datasets import load_digits

    read = load_digits()
    return (read.images / 8 - 1).astype("float32")[:, None], read.target


def test_conditions_are_left_out_as_often_as_the_recipe_says_and_only_in_training():
    _, model = of_classes(Recipe(width=16, depth=1, drop_condition=0.25))
    network, seen = conditioned(model.denoiser), []
    network.network.register_forward_hook(lambda module, given, answer: seen.append(given[0][:, 1]))
    with torch.no_grad():
        network.empty.fill_(7.0)
        network.current = torch.eye(10)[torch.arange(4000) % 10]
        for training in (True, False):
            network.train(training)
            network(torch.zeros(4000, 1, 1, 8, 8), torch.zeros(4000))
    left_out = [(block == 7).flatten(1).all(1) for block in seen]
    assert 0.22 < left_out[0].float().mean() < 0.28 and not left_out[1].any()
    kept = ~left_out[0]
    torch.testing.assert_close(seen[0][kept], network.blocks.detach()[network.current.argmax(1)][kept])
    assert not of_classes(Recipe(width=16, depth=1, drop_condition=0))[1].has_empty
    assert "drop_condition" not in Recipe().model_dump() and "guidance" not in Utility().model_dump()


def test_guidance_is_between_and_beyond_two_answers_and_costs_both():
    data, model = of_classes(Recipe(width=16, depth=1))
    u, t = torch.randn(5, *model.state_shape).double(), 0.3
    kinds = data.prompts[:5]
    with torch.no_grad():
        model.under(kinds)
        own = model.eps(u, t)
        model.under_none(5)
        empty = model.eps(u, t)
        model.under(kinds)
        answers = {scale: guided(model, scale).eps(u, t) for scale in (0, 1, 3)}
        torch.testing.assert_close(answers[3], empty + 3 * (own - empty))
        assert torch.equal(answers[0], empty) and torch.equal(answers[1], own)
        model.cost = Cost()
        chance = torch.Generator()
        drawn = [sample(model, 5, chance.manual_seed(0), 4, guidance=scale) for scale in (1.0, 2.0)]
    assert model.cost.forwards == 5 * 4 * 3 and not torch.allclose(*drawn)
    with pytest.raises(UsageError, match="told conditions cannot be exported"):
        export_diffusers(model, RECIPE, Path("made"))
    with pytest.raises(NotApplicable, match="is not conditional"):
        sample(VP().build_model((3,), 1.0, RECIPE), 5, chance, guidance=2.0)


@pytest.mark.slow
def test_clid_works_on_digits_by_class(tmp_path):
    options = {"recipe": "steps=1200,batch=32,width=128,drop_condition=0.3", "utility": "samples=100,guidance=2"}
    record = mibench.run("vp", "clid:draws=4", "digits-by-class:members=60", store=tmp_path, **options)
    assert record.attack.calibrated.auroc.value > 0.6
    sampled = read_record(next((tmp_path / "records").rglob("utility*.json")))
    assert sampled.utility.n == 100 and sampled.cost.forwards == 2 * 50
