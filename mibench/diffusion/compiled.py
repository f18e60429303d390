"""Compile a network for a training, where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from mibench.diffusion.model import Model, network_of
from mibench.diffusion.training import autocast_context
from mibench.diffusion.unet import UNet
from mibench.recipe import Recipe

__all__ = ["compiled"]

LONG = 2000  # steps; compiling takes as long as some hundreds of steps
BACKEND = "inductor"


@contextmanager
def compiled(model: Model, recipe: Recipe, say: Callable[[str], None]) -> Iterator[None]:
    """Compile the network of a model on CUDA for as long as it trains, if it is a U-Net and the training long.

    Args:
        model: an untrained one.
        recipe: gives steps, batch and precision.
        say: takes a line with the reason if the network cannot be compiled; it then trains uncompiled.
    """
    network = network_of(model).network
    if not _pays(model, recipe):
        yield
        return
    network.train()
    try:
        network.compile(backend=BACKEND)
        blocks = torch.zeros(recipe.batch, network_of(model).input_blocks(model.process.order), *model.shape)
        with autocast_context(recipe, model.device):
            answer = network(blocks.to(model.device), torch.zeros(recipe.batch, device=model.device))
        answer.float().sum().backward()
    except Exception as error:  # of the compiler, of its backends, of the C compiler that they call
        network._compiled_call_impl = None
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        say(f"the network could not be compiled and trains as it is ({why})")
    finally:
        network.zero_grad()
    try:
        yield
    finally:
        network._compiled_call_impl = None


def _pays(model: Model, recipe: Recipe) -> bool:
    return model.device.type == "cuda" and isinstance(network_of(model).network, UNet) and recipe.steps >= LONG
