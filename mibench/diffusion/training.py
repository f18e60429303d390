"""Training a denoiser on the members."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mibench.components import Defense
from mibench.diffusion.denoisers import NetworkDenoiser, PlainDenoiser, SufficientDenoiser, expand
from mibench.diffusion.model import Model
from mibench.diffusion.process import Kernel, LinearSDE
from mibench.recipe import Recipe

__all__ = [
    "TIMES",
    "Alone",
    "Task",
    "blank_model",
    "clipped_step",
    "facts",
    "hybrid_score_matching",
    "module_of",
    "noised",
    "optimise",
    "optimiser",
    "time_table",
    "train",
    "weighted_error",
]

TIMES = 4096


def noised(batch: Tensor, kernel: Kernel, eps: Tensor) -> Tensor:
    """u_t = E[:, 0] x + L ε: (B, *item) and (B, n, *item) to (B, n, *item), one time per sample."""
    return torch.einsum("bij,bj...->bi...", kernel.factor, eps) + expand(kernel.mean, eps) * batch[:, None]


def weighted_error(denoiser: NetworkDenoiser, u: Tensor, kernel: Kernel, target: Tensor) -> Tensor:
    """‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, the mean over (B, n, *item) states with targets (B, *item)."""
    error = (denoiser(u, kernel) - target).flatten(1).square().mean(1)
    loss: Tensor = (error / denoiser.spread(kernel).square()).mean()
    return loss


def hybrid_score_matching(model: Model, batch: Tensor, kernel: Kernel, generator: torch.Generator) -> Tensor:
    """Hybrid score matching, E_t ‖ε_θ(u_t, t) − ε_n‖² / c_out²(t) per dimension, auxiliaries marginalised.

    2112.07068, eq. 8, weighted as in 2206.00364: the network's own error counts alike at all times. Where nothing can be
    told from the noise c_out goes to 0, and an unweighted loss would leave the coarse structure of the samples untrained.
    """
    eps = torch.randn(len(batch), model.process.order, *model.shape, generator=generator, device=model.device).double()
    return weighted_error(module_of(model), noised(batch, kernel, eps), kernel, eps[:, -1])


def clipped_step(model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Backpropagate, clip the norm of the gradient, step."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module_of(model).parameters(), clip, foreach=True)
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


def module_of(model: Model) -> NetworkDenoiser:
    """The denoiser of a model that can be trained."""
    assert isinstance(model.denoiser, NetworkDenoiser), "only a model with a network can be trained"
    return model.denoiser


def time_table(process: LinearSDE, recipe: Recipe, device: torch.device) -> Kernel:
    """The kernel at the quantiles of the training times, from which a step gathers its own."""
    quantiles = ((torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES) ** recipe.time_power
    return process.tabulated(process.t_min + (process.horizon - process.t_min) * quantiles).to(device)


class Task(Protocol):
    """Something to optimise: one model, or several of one shape.

    Attributes:
        parameters: by name; stacked where there are several models.
    """

    parameters: dict[str, Tensor]

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of the optimiser; the loss before it, () or (K,), detached."""
        ...


class Alone:
    """One model, trained as its defense says.

    Args:
        defense: gives loss and update.
        model: from ``blank_model``.
        members: (M, *item).
        recipe: batch, clip, …
        seed: of batches, times and noise.
    """

    def __init__(self, defense: Defense, model: Model, members: Tensor, recipe: Recipe, seed: int) -> None:
        self.defense, self.model, self.recipe = defense, model, recipe
        self.members = members.to(model.device, torch.float64)
        self.table = time_table(model.process, recipe, model.device)
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.parameters: dict[str, Tensor] = dict(module_of(model).named_parameters())

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        batch, device = (self.recipe.batch,), self.model.device
        rows = torch.randint(len(self.members), batch, generator=self.generator, device=device)
        times = torch.randint(TIMES, batch, generator=self.generator, device=device)
        loss = self.defense.loss(self.model, self.members[rows], self.table.take(times), self.generator)
        self.defense.update(self.model, loss, optimizer, self.recipe.clip)
        return loss.detach()


def optimiser(task: Task, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam. It works element by element, so one serves any number of models."""
    return torch.optim.Adam(task.parameters.values(), lr=recipe.learning_rate, fused=True)


def optimise(
    task: Task,
    recipe: Recipe,
    progress: Callable[[int, int], None],
    snapshots: tuple[int, ...],
    keep: Callable[[int, dict[str, Tensor]], None],
) -> Tensor:
    """Run the steps of a recipe, and leave the moving average in place of the weights.

    Args:
        task: what to optimise.
        recipe: steps, learning rate, decay.
        progress: called now and then with steps done and steps in all.
        snapshots: after how many steps ``keep`` is called.
        keep: given the steps done and the averages so far, by name; they change afterwards.

    Returns:
        The mean loss of the last tenth, () or (K,).

    Raises:
        FloatingPointError: where a loss is no longer finite.
    """
    optimizer = optimiser(task, recipe)
    warmup = max(1, recipe.steps // 50)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1.0, (k + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, k / recipe.steps)))
    )
    weights = [p.detach() for p in task.parameters.values()]
    average = [w.clone() for w in weights]
    recent: list[Tensor] = []
    for k in range(recipe.steps):
        loss = task.step(optimizer)
        schedule.step()
        decay = min(recipe.ema, (k + 1) / (k + 10))
        torch._foreach_lerp_(average, weights, 1 - decay)
        if k >= recipe.steps * 9 // 10:
            recent.append(loss)
        if (k + 1) % 200 == 0 or k + 1 == recipe.steps:
            if not torch.isfinite(loss).all():
                raise FloatingPointError(f"the training loss is {loss.tolist()} at step {k + 1}")
            progress(k + 1, recipe.steps)
        if k + 1 in snapshots:
            keep(k + 1, dict(zip(task.parameters, average, strict=True)))
    torch._foreach_copy_(weights, average)
    return torch.stack(recent).mean(0)


def facts(recipe: Recipe, members: Tensor, loss: float, module: nn.Module) -> dict[str, Any]:
    """What the record says of a training: steps, epochs per member, the mean loss of the last tenth."""
    return {
        "steps": recipe.steps,
        "epochs_per_member": recipe.steps * recipe.batch / len(members),
        "loss": loss,
        "parameters": sum(p.numel() for p in module.parameters()),
    }


def train(
    defense: Defense,
    model: Model,
    members: Tensor,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    snapshots: tuple[int, ...] = (),
    keep: Callable[[int, dict[str, Tensor]], None] = lambda done, state: None,
) -> dict[str, Any]:
    """Train a model in place; at the end it holds the moving average of the weights.

    Args:
        defense: gives loss and update.
        model: from ``blank_model``.
        members: (M, *item).
        recipe: steps, batch, learning rate, …
        seed: of batches, times and noise.
        progress: called now and then with steps done and steps in all.
        snapshots: after how many steps the model so far is wanted.
        keep: called with the steps done and the denoiser's state, a copy, as it would be had the training ended there.

    Returns:
        Facts for the record: steps, epochs per member, the mean loss of the last tenth.

    Raises:
        FloatingPointError: where the loss is no longer finite.
    """
    module = module_of(model)

    def hand_out(done: int, average: dict[str, Tensor]) -> None:
        keep(done, {name: average.get(name, value).detach().clone() for name, value in module.state_dict().items()})

    module.train()
    loss = optimise(Alone(defense, model, members, recipe, seed), recipe, progress, snapshots, hand_out)
    module.eval()
    return facts(recipe, members, loss.item(), module)
