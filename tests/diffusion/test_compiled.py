"""What a training step costs beside its arithmetic: compiled where that works."""

from __future__ import annotations

import pytest
import torch

from mibench import Model, Recipe
from mibench.diffusion import compiled as module
from mibench.diffusion.compiled import compiled
from mibench.diffusion.model import network_of
from mibench.diffusion.optimise import adam
from mibench.diffusion.training import SingleTrainer, train
from mibench_defenses import HOLD, VP

torch.set_num_threads(1)

IMAGES = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 127.5 - 1


def blank(recipe: Recipe, seed: int = 0, device: str = "cpu") -> Model:
    return HOLD(order=3).build_model(tuple(IMAGES.shape[1:]), 1.0, recipe, device, seed)


def test_a_compiled_network_trains_to_the_same_and_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, said = Recipe(steps=20, batch=4, width=16, depth=1), []
    monkeypatch.setattr(module, "_pays", lambda model, recipe: True)
    monkeypatch.setattr(module, "BACKEND", "eager")
    ends = []
    for wanted in (False, True):
        model = blank(recipe)
        if wanted:
            with compiled(model, recipe, said.append):
                assert network_of(model).network._compiled_call_impl is not None
                train(HOLD(order=3), model, IMAGES, recipe, 0)
        else:
            train(HOLD(order=3), model, IMAGES, recipe, 0)
        assert network_of(model).network._compiled_call_impl is None
        ends.append(network_of(model).state_dict())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-5)
    assert not said


def test_a_network_that_cannot_be_compiled_trains_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, said = Recipe(steps=5, batch=4, width=16, depth=1), []
    monkeypatch.setattr(module, "_pays", lambda model, recipe: True)
    monkeypatch.setattr(module, "BACKEND", "no such compiler")
    with compiled(model := blank(recipe), recipe, said.append):
        train(HOLD(order=3), model, IMAGES, recipe, 0)
    assert len(said) == 1 and "could not be compiled" in said[0] and len(said[0]) < 300


def test_nothing_is_compiled_where_it_does_not_pay() -> None:
    recipe = Recipe(steps=100_000, width=16, depth=1)
    with compiled(model := blank(recipe), recipe, print):
        assert network_of(model).network._compiled_call_impl is None


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


class TestOnAGPU:
    pytestmark = gpu

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_compiled_step_is_an_eager_step(self, precision: str) -> None:
        recipe = Recipe(steps=2000, batch=16, network="unet-tiny", precision=precision)
        losses = []
        for wanted in (False, True):
            model = blank(recipe, device="cuda")
            task = SingleTrainer(HOLD(order=3), model, IMAGES, recipe, 0)
            optimizer = adam(task, recipe)
            if wanted:
                with compiled(model, recipe, pytest.fail):
                    losses.append(torch.stack([task.step(optimizer) for _ in range(5)]))
            else:
                losses.append(torch.stack([task.step(optimizer) for _ in range(5)]))
        torch.testing.assert_close(*losses, rtol=0, atol=2e-2 if precision == "bf16" else 1e-3)

    def test_bf16_learns_as_fp32_does(self) -> None:
        losses = []
        for precision in ("fp32", "bf16"):
            recipe = Recipe(steps=200, batch=16, network="unet-tiny", precision=precision)
            losses.append(train(HOLD(order=3), blank(recipe, device="cuda"), IMAGES, recipe, 0)["loss"])
        assert losses[1] == pytest.approx(losses[0], rel=0.1)

    def test_answers_are_those_of_the_cpu(self) -> None:
        from mibench.evaluate.backends import set_backends

        recipe, answers = Recipe(network="unet-tiny"), []
        set_backends("cuda")
        u = torch.randn(4, 1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for device in ("cpu", "cuda"):
            model = VP().build_model((1, 8, 8), 1.0, recipe, device)
            with torch.no_grad():
                answers.append(model.eps(u.to(device), 0.1).cpu())
        torch.testing.assert_close(*answers, rtol=0, atol=1e-4)
