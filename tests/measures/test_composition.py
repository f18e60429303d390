"""How measures compose with a defense: one label and one key, whatever the order; what they leave as it is."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mibench import Attack, Defense, Measure, Recipe, UsageError
from mibench.data import split
from mibench.diffusion.model import network_of
from mibench.measures import MeasuredDefense, measured
from mibench.names import build
from mibench.plugins import load
from mibench.suite.cells import Cell, CellSpec
from mibench.suite.edited import edited_cells
from mibench.suite.suite import Suite, plan_cells
from mibench_datasets import Digits
from mibench_defenses import HOLD, VP
from mibench_measures import Dropout, Early, RawWeights, WeightDecay

RECIPE = Recipe(steps=40, batch=8, width=16, depth=1)
PARTS = ("weight-decay:rate=1", "dropout:p=0.3", "early", "jitter:std=0.1")


def defense(text: str) -> Defense:
    built = build(load(), "defense", text)
    assert isinstance(built, Defense)
    return built


def cell(text: str, **more: Any) -> Cell:
    return CellSpec(dataset="digits:members=20", defense=text, recipe=RECIPE, **more).cell(load())


def test_an_edited_measure_is_noticed_also_behind_a_defense_of_another_version(tmp_path: Path) -> None:
    one, path = cell("vp+dropout", attack="loss"), tmp_path / "loss.json"
    assert one.defense.version == one.defense.spec()["version"] == VP.version != Dropout.version
    path.write_text(json.dumps({"cell": one.spec(), "code": {"defense": "class:0"}}))
    plan: Any = SimpleNamespace(cells=[one], path=lambda cell: path)
    assert edited_cells(plan) == {one: ["defense"]}


def test_every_order_is_one_training() -> None:
    cells = [cell("+".join(["hold3", *order])) for order in permutations(PARTS)]
    assert {one.labels["defense"] for one in cells} == {"hold3+jitter+dropout:p=0.3+early+weight-decay:rate=1.0"}
    assert len({one.model_key for one in cells}) == 1
    assert cell("hold3").model_key != cells[0].model_key != cell("hold3+jitter+dropout:p=0.3+early").model_key


@pytest.mark.parametrize("word", ["none", "None", "NONE"])
def test_the_word_none_stands_for_none(word: str) -> None:
    built = defense(f"vp+dp-sgd:epsilon={word},noise=2,learning_rate={word},batch={word}")
    assert built.label == "vp+dp-sgd:noise=2.0,learning_rate=none"
    assert built == defense(built.label)
    assert isinstance(built, MeasuredDefense)
    assert built.measure.model_dump()["learning_rate"] is None
    assert built.adapt_recipe(RECIPE).learning_rate == RECIPE.learning_rate


def test_options_that_equal_their_default_are_not_in_the_name() -> None:
    assert cell("vp+dropout:p=0.1").labels == cell("vp+dropout").labels
    assert cell("vp+dropout:p=0.1").model_key == cell("vp+dropout").model_key


def test_the_spec_of_a_defense_is_as_it_was() -> None:
    composed = defense("hold3+dropout")
    assert composed.spec() == HOLD(order=3).spec() | {"measures": [Dropout().spec()]}
    assert "measures" not in HOLD(order=3).spec()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dropout", "is a measure, which trains no model by itself; write it after a defense: vp+dropout"),
        ("vp+hold2", "'hold2' is a defense by itself; after + comes a measure"),
        ("vp+dropout+early+dropout:p=0.2", "the measure 'dropout' is given twice"),
        ("vp+dropuot", "unknown measure 'dropuot'; did you mean 'dropout'"),
        ("vp+dropout:p=1", "p: must be below 1"),
        (
            "vp+mixup+dp-sgd",
            "with 'mixup' the step's gradient is no sum over members, each by itself, which 'dp-sgd' needs",
        ),
        ("vp+flood+dp-sgd", "with 'flood' the step's gradient is no sum over members"),
        ("vp+distill+dp-sgd", "with 'distill' the step's gradient is no sum over members"),
        ("vp+", "defense 'vp+': a + without a measure behind it"),
        ("vp+ ", "a + without a measure behind it"),
        ("vp++dropout", "a + without a measure behind it"),
        ("vp+dropout+", "a + without a measure behind it"),
        ("+dropout", "defense '+dropout': a + without a defense before it"),
        ("vp+dp-sgd:eps=3", "unknown option 'eps'; did you mean 'epsilon'?"),
        ("vp+augment:flip=perhaps", "flip: must be true or false, got 'perhaps'"),
        ("vp+dp-sgd:clip=none", "clip: must be a number, got 'none'"),
    ],
)
def test_what_cannot_be_composed_gets_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError) as told:
        defense(text)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_two_that_make_the_step_are_refused() -> None:
    class Other(WeightDecay):
        name = "other-step"

        def step(self, *given: Any) -> torch.Tensor:
            raise NotImplementedError

    class Own(VP):
        name = "own-step"

        def step(self, *given: Any) -> torch.Tensor:
            raise NotImplementedError

    private = defense("vp+dp-sgd")
    assert isinstance(private, MeasuredDefense)
    with pytest.raises(UsageError, match="only one can make the step, and 'dp-sgd' and 'other-step' would"):
        measured(VP(), [*private.measures, Other()])
    with pytest.raises(UsageError, match="only one can make the step"):
        measured(Own(), private.measures)


def test_measures_of_recipe_and_data_leave_models_stackable() -> None:
    assert defense("vp+early+weight-decay+raw-weights+jitter+augment").stackable
    assert not any(defense(f"vp+{name}").stackable for name in ("flood", "distill", "dp-sgd"))


def test_every_measure_and_the_base_must_meet_an_adversary_that_it_names() -> None:
    def unmet(text: str, *attacks: str) -> dict[str, tuple[str, ...]]:
        built, run = defense(text), [build(load(), "attack", attack) for attack in attacks]
        assert isinstance(built, MeasuredDefense)
        return built.unmet([attack for attack in run if isinstance(attack, Attack)])

    assert unmet("vp+augment+dropout") == {"augment": ("averaged",), "dropout": ("lira",)}
    assert unmet("vp+augment+dropout", "pia+averaged", "loss") == {"dropout": ("lira",)}
    assert not unmet("vp+augment+dropout", "pia+averaged:queries=4", "lira:mode=offline")
    assert unmet("hold3+early", "lira") == {"hold3": ("adaptive",)} and not unmet("hold3+early", "lira", "adaptive")
    assert unmet("vp+early", "adaptive") == {"early": ("lira",)}
    assert not unmet("vp+dp-sgd", "loss+audit") and unmet("vp+dp-sgd", "loss")
    assert not unmet("hold2+augment", "adaptive+averaged")


def test_every_bundled_measure_names_attacks_that_exist() -> None:
    known = load().components
    for name, measure in known["measure"].items():
        assert issubclass(measure, Measure) and measure.adaptive, name
        assert set(measure.adaptive) <= known["attack"].keys()


def test_the_recipe_that_trains() -> None:
    changed = cell("vp+early:share=0.25+weight-decay:rate=2+raw-weights").own_recipe
    assert changed == RECIPE.model_copy(update={"steps": 10, "weight_decay": 2.0, "ema": 0.0})
    assert cell("vp").own_recipe == RECIPE
    assert [type(one) for one in measured(VP(), [WeightDecay(), RawWeights(), Early()]).measures] == [
        Early,
        RawWeights,
        WeightDecay,
    ]


def test_dropout_acts_in_training_alone() -> None:
    data = split(Digits(members=20, nonmembers=20, reference=20), 0)
    model = defense("vp+dropout:p=0.9").build_model(data.shape, data.data_variance, RECIPE)
    plain = VP().build_model(data.shape, data.data_variance, RECIPE)
    u = torch.randn(16, *model.state_shape, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for one in (model, plain):
            network_of(one).network.leave.weight.fill_(0.1)
        network_of(model).train()
        assert not torch.equal(model.eps(u, 0.5), model.eps(u, 0.5))
        network_of(model).eval()
        assert torch.equal(model.eps(u, 0.5), plain.eps(u, 0.5))
    assert network_of(model).state_dict().keys() == network_of(plain).state_dict().keys()


def test_controls_are_those_of_the_defense_without_measures_of_training() -> None:
    """An exact model is not trained: the suite runs it once for the defense, and not for each measure of it."""
    assert defense("vp+dropout+early").control == VP()
    suite = Suite(
        datasets=["digits:members=20,nonmembers=20,reference=20"],
        defenses=["vp", "vp+early:share=0.5+dropout", "hold2+early"],
        attacks=["loss"],
        seeds=[0, 1],
        checkpoints=[0.5],
        recipe={"digits": {"steps": 40}},
    )
    cells = plan_cells(load(), suite)
    controls = [one for one in cells if one.model_kind != "trained" and one.labels["attack"] == "loss"]
    assert {one.labels["defense"] for one in controls} == {"vp", "hold2+early"}  # the suite has no hold2
    steps = {(one.labels["defense"], one.checkpoint) for one in cells if one.model_kind == "trained"}
    assert steps == {
        *(("vp", step) for step in (0, 20)),
        *(("vp+dropout+early", step) for step in (0, 10)),
        *(("hold2+early", step) for step in (0, 10)),
    }
