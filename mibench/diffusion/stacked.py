"""Training models of one shape together, and measuring whether that is faster."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mibench.diffusion.denoisers import affine_form, parameterisations
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.optimise import Callbacks, Task, adam, optimise
from mibench.diffusion.pool import Pool
from mibench.diffusion.side_by_side import laid_out, side_by_side
from mibench.diffusion.training import (
    TIMES,
    Objective,
    SingleTrainer,
    autocast_context,
    drops,
    time_table,
    training_facts,
)
from mibench.recipe import Recipe

__all__ = ["Speed", "StackedTrainer", "can_stack", "measure_speed", "train_stacked"]


def can_stack(objective: Objective, models: Sequence[Model] = ()) -> bool:
    """Whether models of one objective can train in one step: its steps are the default ones, but for ``vary``.

    Args:
        objective: of the models.
        models: if given, they must be of one shape, without dropout, batch normalisation and a U-Net's attention.
    """
    modules: list[Any] = [model.denoiser for model in models]
    if not objective.stackable or any(type(module) not in parameterisations.values() for module in modules):
        return False
    if not all(getattr(module.network, "stackable", True) for module in modules):
        return False
    shapes = {
        (type(module), *((name, p.shape) for name, p in module.named_parameters()))
        for module in modules
        if not any(map(_shared, module.modules()))
    }
    return not modules or len(shapes) == 1


def _shared(layer: nn.Module) -> bool:
    """Whether a layer draws from the global generator or keeps statistics of the batch."""
    return drops(layer) or isinstance(layer, nn.modules.batchnorm._BatchNorm)


ALIGNED = 64
"""Rows of weights are filled up to a multiple of this with zeros, so that every row is cut into the same vector operations."""


class StackedTrainer:
    """The task of training K models of one shape and process, each with its own data, draws, weights and clipping.

    The parameters are one tensor, a row for each model, so that a step costs the operations of one model on K times the data.
    Each model's draws are those of ``SingleTrainer`` with its seed; the states are float32 and linear in them, see
    ``affine_form``. The models' own parameters do not change; ``unstack`` gives the trained ones. For the arguments see
    ``train_stacked``.
    """

    def __init__(
        self,
        objective: Objective,
        models: Sequence[Model],
        members: Sequence[Tensor],
        recipe: Recipe,
        seeds: Sequence[int],
    ) -> None:
        if not (can_stack(objective, models) and len(models) == len(members) == len(seeds) > 0):
            raise ValueError(f"these {len(models)} models cannot train together")
        first, device, count = models[0], models[0].device, len(models)
        self.objective, self.models, self.recipe, self.device = objective, models, recipe, device
        self.sizes = [len(part) for part in members]
        self.pool = Pool(torch.cat([part.to(torch.float64) for part in members]), device, recipe.augment)
        self.starts = torch.tensor([0, *self.sizes[:-1]], device=device).cumsum(0)[:, None]
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        table = time_table(first.process, recipe, device)
        self.log_snr = table.log_snr.float()
        self.forms = torch.cat([affine_form(network_of(model), table).float() for model in models])
        self.forms_of = torch.arange(count, device=device)[:, None] * TIMES
        self.eps = torch.empty(count, recipe.batch, first.process.order, *first.shape, device=device)
        self.rows, self.times = (torch.empty(count, recipe.batch, dtype=torch.int64, device=device) for _ in range(2))
        layouts = [laid_out(network_of(model).network) for model in models]
        self.shapes = {name: p.shape for name, p in layouts[0].items()}
        rows = torch.stack([torch.cat([p.flatten() for p in layout.values()]) for layout in layouts])
        self.weights = nn.functional.pad(rows, (0, -rows.shape[1] % ALIGNED))
        self.weights.grad = torch.zeros_like(self.weights)
        self.parts = {name: part.requires_grad_() for name, part in self.named(self.weights).items()}
        self.gradients = self.named(self.weights.grad)
        self.parameters, self.buffers = {"weights": self.weights}, dict[str, Tensor]()
        self.forward = side_by_side([network_of(model).network for model in models], self.parts)

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        blocks, target, log_snr = self.batch()
        with autocast_context(self.recipe, self.device):
            answers = self.forward(blocks, log_snr)
        losses = (answers.float() - target).square().flatten(1).mean(1)
        # no loss depends on another model's parameters, so the gradient of the sum is every model's own
        losses.sum().backward()  # type: ignore[no-untyped-call]
        own = {name: part.grad for name, part in self.parts.items() if part.grad is not None}
        torch._foreach_copy_([self.gradients[name] for name in own], list(own.values()))
        for part in self.parts.values():
            part.grad = None
        assert self.weights.grad is not None
        clip_each(self.weights.grad, self.recipe.clip)
        optimizer.step()
        return losses.detach().double()

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the networks see and are to answer, and the log-SNRs: (K, B, blocks, *item), (K, B, *item) and (K, B)."""
        size, moves = (self.recipe.batch,), []
        for k, generator in enumerate(self.generators):
            torch.randint(self.sizes[k], size, generator=generator, out=self.rows[k])
            torch.randint(TIMES, size, generator=generator, out=self.times[k])
            if self.recipe.augment:
                moves.append(self.pool.draw_augmentation(self.recipe.batch, generator))
        members = self.pool.batch((self.rows + self.starts).flatten(), torch.cat(moves, dim=1) if moves else None)
        if self.objective.changes("vary"):
            parts = zip(torch.split(members, self.recipe.batch), self.generators, strict=True)
            members = torch.cat([self.objective.vary(part, generator) for part, generator in parts])
        for k, generator in enumerate(self.generators):
            torch.randn(self.eps.shape[1:], generator=generator, out=self.eps[k])
        drawn = torch.cat([self.eps.flatten(0, 1), members.float()[:, None]], dim=1)
        forms = self.forms[(self.times + self.forms_of).flatten()]
        made = torch.bmm(forms, drawn.flatten(2)).view(*self.times.shape, -1, *drawn.shape[2:])
        return made[:, :, :-1], made[:, :, -1], self.log_snr[self.times]

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """Parameters by name, each (K, …) and laid out, as views of rows like those of ``weights``."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            views[name] = weights.detach()[:, start : start + shape.numel()].view(-1, *shape)
            start += shape.numel()
        return views

    @torch.no_grad()
    def unstack(self, stacked: dict[str, Tensor], k: int) -> dict[str, Tensor]:
        """The state of denoiser ``k`` with weights from a stack, a copy."""
        denoiser = network_of(self.models[k])
        copied = copy.deepcopy(denoiser.network)
        for name, part in laid_out(copied).items():
            part.copy_(self.named(stacked["weights"])[name][k])
        return denoiser.state_dict() | {f"network.{name}": value for name, value in copied.state_dict().items()}


@torch.no_grad()
def clip_each(gradients: Tensor, clip: float) -> None:
    """Clip the norm of every model's gradient, a row of (K, P), as ``clip_grad_norm_`` does, in place."""
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    gradients.mul_((clip / (norms + 1e-6)).clamp(max=1.0))


def train_stacked(
    objective: Objective,
    models: Sequence[Model],
    members: Sequence[Tensor],
    recipe: Recipe,
    seeds: Sequence[int],
    callbacks: Callbacks = Callbacks(),  # noqa: B008 - it is frozen
) -> list[dict[str, Any]]:
    """Train K models in place as ``train`` would one by one, up to rounding.

    Args:
        objective: for which ``can_stack`` holds.
        models: K untrained models.
        members: K tensors (M_k, *item).
        recipe: steps, batch, learning rate, …
        seeds: K seeds of batches, times and noise.
        callbacks: what it reports while it runs.

    Returns:
        Facts for the record, one per model.

    Raises:
        ValueError: if these models cannot train together.
        FloatingPointError: if a loss is not finite.
    """
    for model in models:
        network_of(model).train()
    task = StackedTrainer(objective, models, members, recipe, seeds)

    def save_snapshot(done: int, average: dict[str, Tensor]) -> None:
        for k in range(len(models)):
            callbacks.keep(k, done, task.unstack(average, k))

    losses = optimise(task, recipe, callbacks, save_snapshot)
    for k, model in enumerate(models):
        network_of(model).load_state_dict(task.unstack(task.parameters, k))
        network_of(model).eval()
    return [
        training_facts(recipe, part, loss, model)
        for model, part, loss in zip(models, members, losses.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Speed:
    """The cost of training in ms per step and model, one by one and stacked (infinite where that is impossible)."""

    single: float
    stacked: float

    @property
    def pays(self) -> bool:
        """Whether stacking is faster."""
        return self.stacked < self.single


def measure_speed(
    objective: Objective,
    models: Sequence[Model],
    members: Sequence[Tensor],
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    steps: int = 10,
    warmup: int = 3,
) -> Speed:
    """Measure a few steps one by one and together, on copies: models and seeds stay as they are.

    Args:
        objective, models, members, recipe, seeds: see ``train_stacked``.
        steps: how many are measured; their median counts.
        warmup: how many go before.
    """
    first = models[0]
    single = Model(first.process, copy.deepcopy(network_of(first)).train(), first.shape, first.device)
    alone = SingleTrainer(objective, single, members[0], recipe, seeds[0])
    speed = _step_time(alone, recipe, steps, warmup, first.device)
    if len(models) == 1 or not can_stack(objective, models):
        return Speed(speed, math.inf)
    try:
        task = StackedTrainer(objective, models, members, recipe, seeds)
        return Speed(speed, _step_time(task, recipe, steps, warmup, first.device) / len(models))
    except RuntimeError:  # a plugin's network that vmap cannot follow, or too little memory
        return Speed(speed, math.inf)


def _step_time(task: Task, recipe: Recipe, steps: int, warmup: int, device: torch.device) -> float:
    """The median time of a step, in ms."""
    # on one thread, processor time is the same figure without what other processes of the machine take
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    optimizer, taken = adam(task, recipe), []
    for _ in range(warmup + steps):
        start = clock()
        task.step(optimizer)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append((clock() - start) * 1e3)
    return statistics.median(taken[warmup:])
