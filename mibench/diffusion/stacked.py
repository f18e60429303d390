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

from mibench.diffusion.denoisers import NetworkDenoiser
from mibench.diffusion.losses import noised, weighted_error
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.optimise import Callbacks, Task, adam, optimise
from mibench.diffusion.pool import Pool
from mibench.diffusion.process import Kernel
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
    modules = [model.denoiser for model in models]
    if not (objective.stackable and all(getattr(network, "stackable", True) for network in map(_network, modules))):
        return False
    shapes = {
        (type(module), *((name, p.shape) for name, p in module.named_parameters()))
        for module in modules
        if isinstance(module, NetworkDenoiser) and not any(map(_shared, module.modules()))
    }
    return not modules or (len(shapes) == 1 and all(isinstance(module, NetworkDenoiser) for module in modules))


def _network(module: Any) -> Any:
    return getattr(module, "network", None)


def _shared(layer: nn.Module) -> bool:
    """Whether a layer draws from the global generator or keeps statistics of the batch."""
    return drops(layer) or isinstance(layer, nn.modules.batchnorm._BatchNorm)


class _Error(nn.Module):
    """The training loss as a module, whose parameters and buffers can be replaced by those of another model."""

    def __init__(self, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, u: Tensor, target: Tensor, *kernel: Tensor) -> Tensor:
        return weighted_error(self.denoiser, u, Kernel(*kernel), target).mean()


def _turned(parameter: Tensor) -> Tensor:
    """Stacked matrices (K, out, in) with their axes swapped, (K, in, out), or back; anything else as it is.

    The backward pass of a batched product gives gradients of the swapped layout. Given another layout than the
    parameter's, an optimiser copies, or, if fused and on the CPU, gives wrong results (torch 2.15).
    """
    return parameter.mT if parameter.dim() == 3 else parameter


class StackedTrainer:
    """The task of training K models of one shape and process, each with its own data, draws, weights and clipping.

    The parameters are stacked, so that a step costs the operations of one model on K times the data. Each model's draws
    are those of ``SingleTrainer`` with its seed. The models' own parameters do not change; ``unstack`` gives the trained
    ones. For the arguments see ``train_stacked``.
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
        first, device = models[0], models[0].device
        self.objective, self.models, self.recipe, self.device = objective, models, recipe, device
        self.sizes = [len(part) for part in members]
        self.pool = Pool(torch.cat([part.to(torch.float64) for part in members]), device, recipe.augment)
        self.starts = torch.tensor([0, *self.sizes[:-1]], device=device).cumsum(0)[:, None]
        self.table = time_table(first.process, recipe, device)
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        count, batch = len(models), recipe.batch
        self.eps = torch.empty(count, batch, first.process.order, *first.shape, device=device)
        self.rows, self.times = (torch.empty(count, batch, dtype=torch.int64, device=device) for _ in range(2))
        modules = [_Error(network_of(model)) for model in models]
        stacked, self.buffers = torch.func.stack_module_state(modules)  # type: ignore[arg-type]
        self.parameters = {name: _turned(p.detach()).contiguous().requires_grad_() for name, p in stacked.items()}
        base = modules[0]
        self.losses = torch.vmap(
            lambda parameters, buffers, *inputs: torch.func.functional_call(base, (parameters, buffers), inputs)
        )

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        batch = (self.recipe.batch,)
        moves = []
        for k, generator in enumerate(self.generators):
            torch.randint(self.sizes[k], batch, generator=generator, out=self.rows[k])
            torch.randint(TIMES, batch, generator=generator, out=self.times[k])
            moves.append(self.pool.draw_augmentation(self.recipe.batch, generator))
        members = self.pool.batch((self.rows + self.starts).flatten(), torch.cat(moves, dim=1))
        parts = zip(torch.split(members, self.recipe.batch), self.generators, strict=True)
        members = torch.cat([self.objective.vary(part, generator) for part, generator in parts])
        for k, generator in enumerate(self.generators):
            torch.randn(self.eps.shape[1:], generator=generator, out=self.eps[k])
        eps = self.eps.double().flatten(0, 1)
        kernel = self.table.take(self.times.flatten())
        u = noised(members, kernel, eps)
        inputs = (u, eps[:, -1], kernel.mean_coef, kernel.factor, kernel.inverse, kernel.whitened_mean)
        stacked = [part.view(*self.times.shape, *part.shape[1:]) for part in inputs]
        parameters = {name: _turned(p) for name, p in self.parameters.items()}
        with autocast_context(self.recipe, self.device):
            losses: Tensor = self.losses(parameters, self.buffers, *stacked)
        # no loss depends on another model's parameters, so the gradient of the sum is every model's own
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        clip_each([p.grad for p in self.parameters.values() if p.grad is not None], self.recipe.clip)
        optimizer.step()
        return losses.detach()

    @torch.no_grad()
    def unstack(self, stacked: dict[str, Tensor], k: int) -> dict[str, Tensor]:
        """The state of denoiser ``k`` with parameters from a stack, a copy."""
        state = network_of(self.models[k]).state_dict()
        return {
            name: (_turned(stacked[f"denoiser.{name}"])[k] if f"denoiser.{name}" in stacked else value).clone()
            for name, value in state.items()
        }


@torch.no_grad()
def clip_each(gradients: list[Tensor], clip: float) -> None:
    """Clip the norm of every model's gradient as ``clip_grad_norm_`` does, in place; tensors (K, *)."""
    norms = [torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1) for gradient in gradients]
    factor = (clip / (torch.stack(norms).norm(dim=0) + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, [factor.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients])


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
