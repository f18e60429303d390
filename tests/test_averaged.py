"""The attack ``averaged``: closed forms, what it is not applicable to, and members that only their variations betray."""

from dataclasses import replace

import pytest
import torch
from benches import Scored, cell, made

from mibench import IMAGE, Measure, UsageError
from mibench.context import Context
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.errors import NotApplicable
from mibench.evaluate.attack_run import prepare_attack
from mibench.evaluate.shadows import Shadows
from mibench.evaluate.target import Target
from mibench.measures import measured
from mibench.metrics.auroc import auroc
from mibench.names import build
from mibench.plugins import load
from mibench.results.store import Store
from mibench_attacks.averaged import Averaged

DATA = split(build(load(), "dataset", "digits:members=40,nonmembers=100,reference=200"), 0)
X = DATA.nonmembers.double()


def attack(text):
    return build(load(), "attack", text)


def defense(text):
    return build(load(), "defense", text)


class Noisy(Measure):
    """Answers with noise that is a function of the state."""

    name = "noisy"
    stage = "release"

    def release(self, model):
        exact = model.denoiser

        def noise(u):
            bits = (1e9 * torch.sin(1e7 * u.flatten(1).cumsum(1))) % 1
            return (12**0.5 * (bits - 0.5))[:, -u[0, 0].numel() :].view_as(u[:, 0])

        model.denoiser = lambda u, kernel: exact(u, kernel) + 3 * noise(u)
        return model


def target(of, points):
    """A model that has memorised points, released, and what attackers on it are given."""
    model = of.release(Model(of.process(), ExactDenoiser(points), DATA.shape))
    vary = of.vary if of.varies else None
    return model, Context(0, modality=IMAGE, vary=vary, changed_release=of.changes("release"))


@torch.no_grad()
def areas(text, model, ctx):
    component = attack(text)
    component.fit(model, DATA.members[:10].double(), X[:20], ctx)
    members, others = (component.score(model, x, ctx) for x in (DATA.members.double(), X))
    return {setting: auroc(members[setting].numpy(), others[setting].numpy()) for setting in members}


def test_the_mean_of_linear_scores_has_the_variance_of_a_mean():
    """Noise of variance 9 · 64 on each score, of which Q queries leave 1/Q."""
    model, ctx = target(measured(defense("vp"), [Noisy()]), torch.zeros(1, 1, 8, 8))
    rest = torch.zeros(model.state_shape, dtype=torch.float64)
    base = Scored.by("sum", lambda model, x, ctx: {"x": model.eps(model.noised(x, rest, 0.5), 0.5).flatten(1).sum(1)})
    clean = model.kernel(0.5).whitened_mean[0, -1] * X.flatten(1).sum(1)
    for queries in (4, 36):
        found = Averaged(base=base, queries=queries, std=1e-6).score(model, X, ctx)["x"]
        noise = (found - clean).var().item()
        assert noise == pytest.approx(9 * 64 / queries, rel=0.5)
    assert (base.score(model, X, ctx)["x"] - clean).var().item() == pytest.approx(9 * 64, rel=0.5)


def test_it_is_the_mean_over_the_variations_that_training_makes():
    of = defense("vp+jitter:std=0.2")
    model, ctx = target(of, DATA.members)
    scores = attack("pia+averaged:queries=3").score(model, X[:5], ctx)
    noise = 0.2 * torch.randn(3, 1, 8, 8, generator=ctx.generator("variations"), dtype=torch.float64)
    each = [attack("pia").score(model, X[:5] + one, ctx) for one in noise]
    for setting, values in scores.items():
        torch.testing.assert_close(values, torch.stack([one[setting] for one in each]).mean(0))


def test_variations_are_the_same_in_every_batch_and_are_counted():
    model, ctx = target(defense("vp+augment:flip=true,cutout=2"), DATA.members)
    component = attack("pia:times=[0.1]+averaged:queries=5")
    whole = component.score(model, X[:8], ctx)
    assert model.cost.forwards == 8 * 5 * 2
    for setting, values in component.score(model, X[3:6], ctx).items():
        torch.testing.assert_close(values, whole[setting][3:6])


@pytest.mark.parametrize("base", ["loss:draws=4,times=[0.05]", "pia", "secmi:steps=10"])
def test_members_that_were_trained_on_shifted_are_found(base):
    """The model has memorised two random shifts of each member."""
    of = defense("vp+augment:shift=1")
    shifted = [of.vary(DATA.members, torch.Generator().manual_seed(k)) for k in range(2)]
    model, ctx = target(of, torch.cat(shifted))
    plain, averaged = areas(base, model, ctx), areas(f"{base}+averaged", model, ctx)
    setting = attack(base).published if attack(base).published in plain else min(plain)
    assert averaged[setting] > plain[setting] + 0.05


def test_noise_of_a_release_averages_out():
    torch.manual_seed(0)
    model, ctx = target(defense("vp+output-noise:std=3"), DATA.members)
    plain, averaged = (
        areas(f"loss:draws=4,times=[0.2]{more}", model, ctx)["t=0.2"] for more in ("", "+averaged:queries=8")
    )
    assert averaged > plain + 0.05


def test_a_learning_base_learns_from_one_variation_of_each_sample():
    given = []
    base = Scored.by(
        "learner", None, fit=lambda self, model, members, nonmembers, ctx: given.extend([members, nonmembers])
    )
    of = defense("vp+augment:shift=2")
    model, ctx = target(of, DATA.members)
    Averaged(base=base, queries=3).fit(model, X[:7], X[7:12], ctx)
    assert [len(side) for side in given] == [7, 5]
    for k, one in enumerate(X[:7]):
        assert torch.equal(given[0][k], of.vary(one.repeat(3, 1, 1, 1), ctx.generator("variations"))[k % 3])


@pytest.mark.parametrize("name", ["vp", "hold2+dropout", "vp+mixup", "vp+distill"])
def test_where_nothing_varies_the_base_is_the_same(name):
    model, ctx = target(defense(name), DATA.members)
    with pytest.raises(NotApplicable, match="the base attack is the same"):
        attack("loss+averaged").score(model, X, ctx)


def test_mixing_alone_is_no_variation_but_others_beside_it_are():
    assert not defense("vp+mixup").varies and defense("vp+mixup+jitter").varies
    of = defense("vp+mixup+jitter:std=0.2")
    (alone,), (both,) = (
        attack("pia:times=[0.1]+averaged").score(*target(one, DATA.members)[:1], X[:1], target(one, DATA.members)[1])[
            "mean"
        ]
        for one in (defense("vp+jitter:std=0.2"), of)
    )
    assert alone != both and abs(alone - both) < abs(alone) / 2


def test_it_knows_the_defense_of_a_cell(tmp_path):
    store, of = Store(tmp_path), defense("vp+augment+jitter")
    one = cell("loss+averaged", defense=of.label, model="trained")
    made([one], store)
    goal = Target(one, store, "cpu")
    ctx = prepare_attack(0, one, goal, Shadows(goal)).ctx
    expected, found = (vary(X, torch.Generator().manual_seed(0)) for vary in (of.vary, ctx.vary))
    assert torch.equal(expected, found) and not ctx.changed_release
    plain = replace(one, defense=defense("vp"))
    assert prepare_attack(0, plain, goal, Shadows(goal)).ctx.vary is None


def test_it_is_adaptive_where_its_base_is():
    assert attack("adaptive+averaged").adaptive and not attack("loss+averaged").adaptive
    assert defense("vp+augment").meets_adaptively(attack("pia+averaged:queries=4"))


@pytest.mark.parametrize("text", ["nn", "blind", "lira", "gsa", "loss+averaged", "loss+audit"])
def test_it_wraps_attacks_that_ask_the_target_alone(text):
    with pytest.raises(UsageError, match=r"it averages attacks that ask the network, without shadow models"):
        attack(f"{text}+averaged")
