"""The U-Net: sizes, orders, sides that do not divide, and that it learns."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch

from mibench import MibenchError, Recipe
from mibench.diffusion.training import train
from mibench_defenses import HOLD, VP

pytest.importorskip("diffusers")
from mibench.diffusion.unet import UNet

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


@pytest.mark.parametrize("defense", [VP(), HOLD(order=3, parameterisation="sufficient")], ids=["vp", "hold3"])
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
    true = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "diffusers":
            raise ImportError("No module named 'diffusers'")
        return true(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MibenchError, match=r"pip install 'mibench\[unet\]'"):
        UNet(1, (1, 8, 8), "unet-tiny")
