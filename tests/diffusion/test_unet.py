"""The U-Net: sizes, orders, sides that do not divide, and that it learns."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
import torch

from mibench import Context, MibenchError, Recipe
from mibench.diffusion.stacked import can_stack
from mibench.diffusion.training import train
from mibench_attacks import GSA
from mibench_defenses import HOLD, VP

pytest.importorskip("diffusers")
from mibench.diffusion.unet import PRESETS, Preset, UNet

torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 40, 33), (1, 8, 8)])
def test_any_side_and_order(shape: tuple[int, ...]) -> None:
    network = UNet(3, shape, "unet-tiny")
    out = network(torch.randn(2, 3, *shape), torch.tensor([-1.0, 4.0]))
    assert out.shape == (2, *shape)
    assert not torch.allclose(out[0], network(torch.randn(2, 3, *shape), torch.tensor([-1.0, 4.0]))[0])


def test_it_sees_the_signal_to_noise_ratio() -> None:
    network = UNet(1, (1, 8, 8), "unet-tiny")
    x = torch.randn(1, 1, 1, 8, 8)
    near, far = (network(x, torch.tensor([value])) for value in (3.0, 3.1))
    assert not torch.allclose(near, far, atol=1e-5)


def test_the_published_size() -> None:
    """2006.11239, B: 35.7 million parameters for CIFAR-10."""
    with torch.device("meta"):
        network = UNet(1, (3, 32, 32), "unet-cifar")
    assert 34e6 < sum(p.numel() for p in network.parameters()) < 38e6


@pytest.mark.parametrize(
    "defense",
    [VP(), pytest.param(HOLD(order=3, parameterisation="sufficient"), marks=pytest.mark.slow)],
    ids=["vp", "hold3"],
)
def test_it_learns(defense: Any) -> None:
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for steps in (5, 150):
        recipe = Recipe(steps=steps, batch=16, network="unet-tiny", learning_rate=1e-3)
        model = defense.build_model((1, 8, 8), 1.0, recipe)
        losses.append(train(defense, model, images, recipe, 0)["loss"])
    assert losses[1] < 0.8 * losses[0]


def test_points_have_no_u_net() -> None:
    with pytest.raises(MibenchError, match=r"is for images \(C, H, W\)"):
        VP().build_model((2,), 1.0, Recipe(network="unet-tiny"))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers.models", None)
    with pytest.raises(MibenchError, match=r"pip install 'mibench\[unet\]'"):
        UNet(1, (1, 8, 8), "unet-tiny")


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model whose U-Net is a small one with attention, as that of the name "unet-cifar"."""
    monkeypatch.setitem(PRESETS, "unet-cifar", Preset((32, 64), 1, 1, 1))
    return VP().build_model((1, 8, 8), 1.0, Recipe(network="unet-cifar"))


def test_attention_has_one_head_as_published(attentive: Any) -> None:
    """2006.11239 and its code: one head over all channels."""
    heads = [layer.heads for layer in attentive.denoiser.modules() if type(layer).__name__ == "Attention"]
    assert len(heads) > 2 and set(heads) == {1}


def test_models_with_attention_do_not_train_in_one_stack(attentive: Any) -> None:
    assert not can_stack(VP(), [attentive])
    assert can_stack(VP(), [VP().build_model((1, 8, 8), 1.0, Recipe(network="unet-tiny"))])


def test_gradients_of_single_samples_pass_through_attention_together(attentive: Any) -> None:
    """Torch warns where vmap falls back to one sample after the other."""
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gsa = GSA(times=(0.1,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = gsa._features(attentive, x, Context(0))
    alone = torch.cat([gsa._features(attentive, one[None], Context(0)) for one in x])
    kept = alone > -8  # a gradient that is 0 but for rounding has any logarithm below that
    assert kept.double().mean() > 0.8
    torch.testing.assert_close(together[kept], alone[kept], rtol=0, atol=1e-2)


def test_nothing_is_padded_where_the_levels_divide_the_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    def pad(*_: Any, **__: Any) -> None:
        raise AssertionError("a pad, even of nothing, keeps Inductor of torch 2.15 from compiling")

    network = UNet(1, (1, 8, 8), "unet-tiny")
    monkeypatch.setattr(torch.nn.functional, "pad", pad)
    network(torch.randn(2, 1, 1, 8, 8), torch.zeros(2))
