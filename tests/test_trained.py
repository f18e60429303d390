"""Small trained models leak what they must, and generate: fixed seeds, wide margins."""

import pytest
import torch

from mibench.context import Context
from mibench.data import nearest, split
from mibench.diffusion.sampling import sample
from mibench.diffusion.training import train
from mibench.metrics.auroc import auroc
from mibench.names import build
from mibench.plugins import load
from mibench.recipe import Recipe
from mibench.seeds import generator


def trained(dataset, defense, **recipe):
    data = split(build(load(), "dataset", dataset), 0)
    component = build(load(), "defense", defense)
    settings = Recipe(**recipe)
    model = component.build_model(data.shape, data.data_variance, settings)
    train(component, model, data.members, settings, 0)
    return model, data


@torch.no_grad()
def best(attack, model, data):
    component = build(load(), "attack", attack)
    sides = [component.score(model, x.double(), Context(0)) for x in (data.members, data.nonmembers[:300])]
    return max(auroc(sides[0][s].numpy(), sides[1][s].numpy()) for s in sides[0])


def test_vp_on_digits_leaks_and_generates():
    model, data = trained("digits", "vp", steps=2500)
    assert best("loss:draws=64,times=[0.05]", model, data) >= 0.95
    assert best("secmi", model, data) >= 0.95
    assert best("pia", model, data) >= 0.95
    drawn = sample(model, 200, generator(0, "samples"))
    assert nearest(drawn, data.reference).median() < 1.6 * nearest(data.nonmembers, data.reference).median()


@pytest.mark.slow
def test_vp_on_the_swiss_roll_leaks():
    model, data = trained("swiss-roll", "vp", steps=1800, batch=128, time_power=2.0, fourier=64)
    assert best("pia", model, data) >= 0.9


@pytest.mark.slow
def test_the_sufficient_parameterisation_trains_hold3():
    model, data = trained("digits", "hold3:parameterisation=sufficient", steps=1500)
    assert best("pia", model, data) >= 0.9
