"""Training a denoiser on the members."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mibench.components import Defense
from mibench.diffusion.denoisers import NetworkDenoiser, PlainDenoiser, SufficientDenoiser, expand
from mibench.diffusion.model import Model
from mibench.diffusion.process import Kernel
from mibench.recipe import Recipe

__all__ = ["blank_model", "clipped_step", "hybrid_score_matching", "train"]

TIMES = 4096


def hybrid_score_matching(model: Model, batch: Tensor, kernel: Kernel, generator: torch.Generator) -> Tensor:
    """Hybrid score matching, E_t ‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, auxiliaries marginalised.

    2112.07068, eq. 8, weighted as in 2206.00364: the network's own error counts alike at all times. Where nothing can be
    told from the noise c_out goes to 0, and an unweighted loss would leave the coarse structure of the samples untrained.
    """
    eps = torch.randn(len(batch), model.process.order, *model.shape, generator=generator, device=model.device).double()
    u = torch.einsum("bij,bj...->bi...", kernel.factor, eps) + expand(kernel.mean, eps) * batch[:, None]
    error = (model.denoiser(u, kernel) - eps[:, -1]).flatten(1).square().mean(1)
    loss: Tensor = (error / _module(model).spread(kernel).square()).mean()
    return loss


def clipped_step(model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Backpropagate, clip the norm of the gradient, step."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(_module(model).parameters(), clip, foreach=True)
    optimizer.step()


def blank_model(
    defense: Defense, shape: tuple[int, ...], data_variance: float, recipe: Recipe, device: str = "cpu", seed: int = 0
) -> Model:
    """An untrained model of a defense.

    Args:
        defense: gives process, network and parameterisation.
        shape: the shape of one item.
        data_variance: mean square of the members, which scales the network's input.
        recipe: gives the network's size.
        device: where it lives.
        seed: of the initial weights.
    """
    process = defense.process()
    parameterisation: type[NetworkDenoiser] = {"plain": PlainDenoiser, "sufficient": SufficientDenoiser}[
        defense.parameterisation
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = defense.network(parameterisation.blocks_of(process.order), shape, recipe)
    return Model(process, parameterisation(network, data_variance).to(device), shape, device)


def _module(model: Model) -> NetworkDenoiser:
    assert isinstance(model.denoiser, NetworkDenoiser), "only a model with a network can be trained"
    return model.denoiser


def train(
    defense: Defense,
    model: Model,
    members: Tensor,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Train a model in place; at the end it holds the moving average of the weights.

    The kernel is tabulated once, at the quantiles of the training times, and gathered from there.

    Args:
        defense: gives loss and update.
        model: from ``blank_model``.
        members: (M, *item).
        recipe: steps, batch, learning rate, …
        seed: of batches, times and noise.
        progress: called now and then with steps done and steps in all.

    Returns:
        Facts for the record: steps, epochs per member, the mean loss of the last tenth.

    Raises:
        FloatingPointError: where the loss is no longer finite.
    """
    module, process = _module(model), model.process
    members = members.to(model.device, torch.float64)
    quantiles = ((torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES) ** recipe.time_power
    table = process.tabulated(process.t_min + (process.horizon - process.t_min) * quantiles).to(model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    fused = torch.optim.Adam(module.parameters(), lr=recipe.learning_rate, fused=True)
    warmup = max(1, recipe.steps // 50)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        fused, lambda k: min(1.0, (k + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, k / recipe.steps)))
    )
    weights = [p.detach() for p in module.parameters()]
    average = [w.clone() for w in weights]
    recent: list[Tensor] = []
    module.train()
    for k in range(recipe.steps):
        rows = torch.randint(len(members), (recipe.batch,), generator=generator, device=model.device)
        times = torch.randint(TIMES, (recipe.batch,), generator=generator, device=model.device)
        loss = defense.loss(model, members[rows], table.take(times), generator)
        defense.update(model, loss, fused, recipe.clip)
        schedule.step()
        decay = min(recipe.ema, (k + 1) / (k + 10))
        torch._foreach_lerp_(average, weights, 1 - decay)
        if k >= recipe.steps * 9 // 10:
            recent.append(loss.detach())
        if (k + 1) % 200 == 0 or k + 1 == recipe.steps:
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"the training loss is {loss.item()} at step {k + 1}")
            progress(k + 1, recipe.steps)
    torch._foreach_copy_(weights, average)
    module.eval()
    return {
        "steps": recipe.steps,
        "epochs_per_member": recipe.steps * recipe.batch / len(members),
        "loss": torch.stack(recent).mean().item(),
        "parameters": sum(p.numel() for p in module.parameters()),
    }
