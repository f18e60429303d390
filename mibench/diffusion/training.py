"""Training one model on its members."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from mibench.diffusion.model import Model, network_of
from mibench.diffusion.optimise import Callbacks, optimise
from mibench.diffusion.pool import Pool
from mibench.diffusion.process import Kernel, LinearSDE
from mibench.recipe import Recipe

__all__ = ["TIMES", "Objective", "SingleTrainer", "autocast_context", "time_table", "train", "training_facts"]

TIMES = 4096


class Objective(Protocol):
    """What a training needs of a defense; see ``mibench.defenses.Defense``."""

    @property
    def stackable(self) -> bool: ...

    def loss(self, model: Model, batch: Tensor, kernel: Kernel, generator: torch.Generator) -> Tensor: ...

    def update(
        self, model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float, generator: torch.Generator
    ) -> None: ...


def time_table(process: LinearSDE, recipe: Recipe, device: torch.device) -> Kernel:
    """The kernel at the quantiles of the distribution of training times; a step draws from these."""
    quantiles = (torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES
    if recipe.log_snr is None:
        times = process.t_min + (process.horizon - process.t_min) * quantiles**recipe.time_power
    else:
        mean, sd = recipe.log_snr
        high, low = torch.special.ndtr((torch.tensor(process.log_snr_range, dtype=torch.float64) - mean) / sd)
        times = process.time_at(mean + sd * torch.special.ndtri(low + (high - low) * quantiles))
    return process.tabulated(times).to(device)


def autocast_context(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass: autocast to bfloat16 if the recipe says so; float64 stays float64."""
    return torch.autocast(device.type, torch.bfloat16) if recipe.precision == "bf16" else nullcontext()


class SingleTrainer:
    """The task of training one model; see ``train``."""

    def __init__(self, objective: Objective, model: Model, members: Tensor, recipe: Recipe, seed: int) -> None:
        self.objective, self.model, self.recipe = objective, model, recipe
        self.pool, self.size = Pool(members, model.device, recipe.augment), len(members)
        self.table = time_table(model.process, recipe, model.device)
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.generators = [self.generator]
        self.parameters: dict[str, Tensor] = dict(network_of(model).named_parameters())
        self.buffers = dict(network_of(model).named_buffers())

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        batch, device = (self.recipe.batch,), self.model.device
        rows = torch.randint(self.size, batch, generator=self.generator, device=device)
        times = torch.randint(TIMES, batch, generator=self.generator, device=device)
        members = self.pool.batch(rows, self.pool.draw_augmentation(self.recipe.batch, self.generator))
        with autocast_context(self.recipe, device):
            loss = self.objective.loss(self.model, members, self.table.take(times), self.generator)
        self.objective.update(self.model, loss, optimizer, self.recipe.clip, self.generator)
        return loss.detach()


def training_facts(recipe: Recipe, members: Tensor, loss: float, model: Model) -> dict[str, Any]:
    """Facts for the record: steps, epochs per member, the mean loss of the last tenth, parameters."""
    return {
        "steps": recipe.steps,
        "epochs_per_member": recipe.steps * recipe.batch / len(members),
        "loss": loss,
        "parameters": sum(p.numel() for p in network_of(model).parameters()),
    }


def train(
    objective: Objective,
    model: Model,
    members: Tensor,
    recipe: Recipe,
    seed: int,
    callbacks: Callbacks = Callbacks(),  # noqa: B008 - it is frozen
) -> dict[str, Any]:
    """Train a model in place; at the end it holds the moving average of the weights.

    Args:
        objective: gives loss and update, such as a defense.
        model: an untrained one.
        members: (M, *item).
        recipe: steps, batch, learning rate, …
        seed: of batches, times, noise and the draws of an update.
        callbacks: what it reports while it runs.

    Returns:
        Facts for the record, see ``training_facts``.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    network = network_of(model)

    def save_snapshot(done: int, average: dict[str, Tensor]) -> None:
        state = {name: average.get(name, value).detach().clone() for name, value in network.state_dict().items()}
        callbacks.keep(0, done, state)

    network.train()
    loss = optimise(SingleTrainer(objective, model, members, recipe, seed), recipe, callbacks, save_snapshot)
    network.eval()
    return training_facts(recipe, members, loss.item(), model)
