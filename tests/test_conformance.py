"""Every registered component, whoever brought it: what the harness and its users rely on."""

import json

import pytest
import torch

from mibench.context import Context, Shadow
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.diffusion.training import train
from mibench.errors import NotApplicable
from mibench.names import build, validated
from mibench.plugins import load
from mibench.recipe import Recipe
from mibench.seeds import generator

REGISTRY = load()
EVERY = [(kind, name) for kind, known in REGISTRY.components.items() for name in known]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_component_says_what_it_is(kind, name):
    component = REGISTRY.components[kind][name]()
    assert component.summary().endswith(".") or ":" in component.summary()
    assert build(REGISTRY, kind, component.label) == component
    assert json.loads(json.dumps(component.spec())) == component.spec()
    for option, field in type(component).model_fields.items():
        assert field.description, f"{name}: option {option} has no description"


@pytest.mark.parametrize(
    "name", [k for k, cls in REGISTRY.components["dataset"].items() if not getattr(cls, "needs_files", False)]
)
def test_a_dataset_gives_a_split(name):
    dataset = REGISTRY.components["dataset"][name]()
    validated(Recipe, dataset.recipe, name)
    data = split(dataset, 0)
    assert (len(data.members), len(data.nonmembers), len(data.reference)) == (
        dataset.members,
        dataset.nonmembers,
        dataset.reference,
    )
    assert 0.1 < data.data_variance < 10
    assert data.fingerprint == split(dataset, 0).fingerprint != split(dataset, 1).fingerprint
    assert torch.equal(dataset.pool(generator(3, "x")), dataset.pool(generator(3, "x")))
    assert dataset.modality.space(data.members).dtype == torch.float64


@pytest.mark.parametrize("parameterisation", ["plain", "sufficient"])
@pytest.mark.parametrize("name", REGISTRY.components["defense"])
def test_a_defense_trains_and_releases(name, parameterisation):
    defense = build(REGISTRY, "defense", f"{name}:parameterisation={parameterisation}")
    data = split(build(REGISTRY, "dataset", "digits:members=20,reference=100"), 0)
    recipe = Recipe(steps=3, width=16, depth=1)
    model = defense.build_model(data.shape, data.data_variance, recipe)
    before = [p.clone() for p in model.denoiser.parameters()]
    facts = train(defense, model, data.members, recipe, 0)
    assert facts["steps"] == 3 and facts["loss"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, model.denoiser.parameters(), strict=True))
    released = defense.release(model)
    eps = released.eps(released.at_rest(data.members), released.process.t_min)
    assert eps.shape == data.members.shape and eps.dtype == torch.float64


@pytest.mark.parametrize(
    "dataset", ["digits:members=20,nonmembers=20,reference=20", "swiss-roll:members=20,nonmembers=20,reference=20"]
)
@pytest.mark.parametrize("defense", ["vp", "hold3"])
@pytest.mark.parametrize("name", REGISTRY.components["attack"])
def test_an_attack_scores_its_published_setting(name, defense, dataset):
    attack = REGISTRY.components["attack"][name]()
    data = split(build(REGISTRY, "dataset", dataset), 0)
    built = build(REGISTRY, "defense", defense)

    def answering(points):
        """The exact model, or one that has weights for attacks that need them."""
        if attack.access == "weights":
            return built.build_model(data.shape, 1.0, Recipe(width=16, depth=1))
        return Model(built.process(), ExactDenoiser(points), data.shape)

    model = answering(data.members).for_access(attack.access, name)
    x = data.nonmembers[:3].double()

    def shadow(k, kind):
        known = {"online": torch.cat([data.members, data.nonmembers]), "offline": data.reference}[kind]
        members = known[torch.randperm(len(known), generator=generator(k, kind))[:10]]
        return Shadow(answering(members), members)

    def context():
        return Context(
            0,
            modality=REGISTRY.components["dataset"][dataset.partition(":")[0]].modality,
            auxiliary=data.reference.double(),
            draw=lambda count: data.reference[torch.arange(count) % 20].double(),
            shadows=lambda count, kind: [shadow(k, kind) for k in range(count)],
        )

    try:
        attack.fit(model, data.members[:4].double(), data.nonmembers[:4].double(), context())
        scores, again = (attack.score(model, x, context()) for _ in range(2))
    except NotApplicable as reason:
        assert str(reason) and name == "filter"
        return
    assert attack.published in scores
    for setting, values in scores.items():
        assert values.shape == (3,) and torch.isfinite(values).all()
        assert torch.equal(values, again[setting])
