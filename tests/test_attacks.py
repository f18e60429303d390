"""Every attack on every defense: the exact model, fresh data, counting, and independence of the batch."""

import pytest
import torch

from mibench.context import Context
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.metrics.membership import auroc
from mibench.names import build
from mibench.plugins import load

DEFENSES = ["vp", "ve", "cld", "hold1", "hold2", "hold3", "hold4"]
ATTACKS = ["loss:draws=4", "secmi", "pia", "pia:form=drift", "likelihood:evaluations=24,draws=1"]


def exact(defense, points):
    return Model(build(load(), "defense", defense).process(), ExactDenoiser(points), tuple(points.shape[1:]))


def areas(attack, model, members, nonmembers):
    sides = [attack.score(model, x.double(), Context(0)) for x in (members, nonmembers)]
    return {s: auroc(sides[0][s].numpy(), sides[1][s].numpy()) for s in sides[0]}


@pytest.fixture(scope="module")
def digits():
    return split(build(load(), "dataset", "digits"), 0)


@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_sees_the_members_of_the_exact_model(digits, defense, attack):
    component = build(load(), "attack", attack)
    found = areas(component, exact(defense, digits.members), digits.members, digits.nonmembers[:100])
    assert max(found.values()) >= 0.98
    assert component.published in found


@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize(
    ("attack", "setting"),
    [
        ("loss:draws=2,times=[0.1]", "t=0.1"),
        ("secmi:steps=10", "t=0.1"),
        ("pia:times=[0.1]", "t=0.1"),
        ("pia:form=drift,times=[0.1]", "t=0.1"),
        ("likelihood:evaluations=8,draws=1", "ode"),
        ("likelihood:evaluations=8,draws=1", "elbo"),
    ],
)
def test_no_attack_sees_members_where_there_are_none(defense, attack, setting):
    data = split(build(load(), "dataset", "digits:members=400,nonmembers=400,reference=997"), 0)
    model = exact(defense, data.reference[:100])
    found = areas(build(load(), "attack", attack), model, data.members, data.nonmembers)[setting]
    assert abs(found - 0.5) < 0.08


@pytest.mark.parametrize(
    ("attack", "forwards", "vjps"),
    [
        ("loss:draws=3,times=[0.1,0.2]", 6, 0),
        ("secmi", 31, 0),
        ("pia", 8, 0),
        ("likelihood:evaluations=5,draws=2", 15, 10),
    ],
)
def test_evaluations_are_counted(digits, attack, forwards, vjps):
    model = exact("hold2", digits.members[:10])
    build(load(), "attack", attack).score(model, digits.members[:7].double(), Context(0))
    assert (model.cost.forwards, model.cost.vjps) == (7 * forwards, 7 * vjps)


@pytest.mark.parametrize("attack", [*ATTACKS, "pia:auxiliaries=sampled,draws=2"])
def test_a_score_belongs_to_its_sample(digits, attack):
    component, model = build(load(), "attack", attack), exact("hold3", digits.members[:30])
    x = digits.nonmembers[:9].double()
    together = component.score(model, x, Context(0))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = component.score(model, x[order], Context(0))
    alone = component.score(model, x[4:5], Context(0))
    for setting, values in together.items():
        torch.testing.assert_close(values[order], shuffled[setting], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(values[4:5], alone[setting], rtol=1e-9, atol=1e-12)


def test_likelihood_of_an_auxiliary_without_spread_is_the_bound_alone(digits):
    """The joint density is singular; the ELBO is not, and still tells members from others."""
    model = exact("hold2:aux_variance=0", digits.members)
    found = areas(build(load(), "attack", "likelihood"), model, digits.members, digits.nonmembers[:50])
    assert list(found) == ["elbo"]
    assert found["elbo"] > 0.98


def test_estimators_of_the_likelihood(digits):
    """The log of a mean is at least the mean of the logs; with one draw they are the same."""
    model, x = exact("hold2", digits.members[:10]), digits.nonmembers[:5].double()
    one, two = (
        build(load(), "attack", f"likelihood:evaluations=10,draws={k}").score(model, x, Context(0)) for k in (1, 2)
    )
    torch.testing.assert_close(one["logmeanexp"], one["ode"])
    assert (two["logmeanexp"] > two["ode"]).all()


def test_sampled_auxiliaries_differ_from_resting_ones_only_where_there_are_some(digits):
    x = digits.members[:5].double()
    rest, drawn = (build(load(), "attack", text) for text in ("pia:times=[0.1]", "pia:times=[0.1],auxiliaries=sampled"))
    one, two = exact("vp", digits.members[:20]), exact("hold2", digits.members[:20])
    assert torch.equal(rest.score(one, x, Context(0))["mean"], drawn.score(one, x, Context(0))["mean"])
    assert not torch.equal(rest.score(two, x, Context(0))["mean"], drawn.score(two, x, Context(0))["mean"])
