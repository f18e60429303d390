"""Training models of one shape together, and whether it pays."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mibench.components import Defense
from mibench.diffusion.denoisers import NetworkDenoiser
from mibench.diffusion.model import Model
from mibench.diffusion.pool import Pool
from mibench.diffusion.process import Kernel
from mibench.diffusion.training import (
    TIMES,
    Alone,
    Bookmark,
    Task,
    cast,
    facts,
    module_of,
    noised,
    optimise,
    optimiser,
    time_table,
    weighted_error,
)
from mibench.recipe import Recipe

__all__ = ["Speed", "Together", "can_train_together", "fastest", "train_together"]

# They draw from the global generator, or keep statistics of the batch: neither can be stacked.
UNSTACKABLE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


def can_train_together(defense: Defense, models: Sequence[Model] = ()) -> bool:
    """Whether models of a defense can train together: its loss and update are the default ones.

    Args:
        defense: of the models.
        models: if given, they must be of one shape too, and their networks free of dropout and batch normalisation.
    """
    if type(defense).loss is not Defense.loss or type(defense).update is not Defense.update:
        return False
    modules = [model.denoiser for model in models]
    shapes = {
        (type(module), *((name, p.shape) for name, p in module.named_parameters()))
        for module in modules
        if isinstance(module, NetworkDenoiser) and not any(isinstance(part, UNSTACKABLE) for part in module.modules())
    }
    return not modules or (len(shapes) == 1 and all(isinstance(module, NetworkDenoiser) for module in modules))


class _Error(nn.Module):
    """The training loss as a module, whose parameters and buffers can be replaced by those of another model."""

    def __init__(self, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, u: Tensor, target: Tensor, *kernel: Tensor) -> Tensor:
        return weighted_error(self.denoiser, u, Kernel(*kernel), target)


def _turned(parameter: Tensor) -> Tensor:
    """Stacked matrices (K, out, in) with their axes swapped, (K, in, out), or back; anything else as it is.

    Matrices are stored turned: the backward pass of a batched product gives gradients of that layout, and an optimiser
    that meets another layout than the parameter's copies, or, if fused and on the CPU, goes wrong (torch 2.15).
    """
    return parameter.mT if parameter.dim() == 3 else parameter


class Together:
    """K models of one shape and process, each with its own data, draws, weights and clipping.

    The parameters are stacked, so that a step costs the operations of one model on K times the data. Each model's draws
    are those of ``Alone`` with its seed.

    Args:
        defense: for which ``can_train_together`` holds.
        models: K models from ``blank_model``; their own parameters stay as they are, ``unstack`` gives the trained ones.
        members: K tensors (M_k, *item).
        recipe: batch, clip, …
        seeds: K seeds of batches, times and noise.
    """

    def __init__(
        self,
        defense: Defense,
        models: Sequence[Model],
        members: Sequence[Tensor],
        recipe: Recipe,
        seeds: Sequence[int],
    ) -> None:
        if not (can_train_together(defense, models) and len(models) == len(members) == len(seeds) > 0):
            raise ValueError(f"these {len(models)} models of {defense.label} cannot train together")
        first, device = models[0], models[0].device
        self.models, self.recipe, self.device = models, recipe, device
        self.sizes = [len(part) for part in members]
        self.pool = Pool(torch.cat([part.to(torch.float64) for part in members]), device, recipe.augment)
        self.starts = torch.tensor([0, *self.sizes[:-1]], device=device).cumsum(0)[:, None]
        self.table = time_table(first.process, recipe, device)
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        count, batch = len(models), recipe.batch
        self.eps = torch.empty(count, batch, first.process.order, *first.shape, device=device)
        self.rows, self.times = (torch.empty(count, batch, dtype=torch.int64, device=device) for _ in range(2))
        modules = [_Error(module_of(model)) for model in models]
        stacked, self.buffers = torch.func.stack_module_state(modules)  # type: ignore[arg-type]
        self.parameters = {name: _turned(p.detach()).contiguous().requires_grad_() for name, p in stacked.items()}
        base = modules[0]
        self.losses = torch.vmap(
            lambda parameters, buffers, *given: torch.func.functional_call(base, (parameters, buffers), given)
        )

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        batch = (self.recipe.batch,)
        moves = []
        for k, generator in enumerate(self.generators):
            torch.randint(self.sizes[k], batch, generator=generator, out=self.rows[k])
            torch.randint(TIMES, batch, generator=generator, out=self.times[k])
            moves.append(self.pool.moves(self.recipe.batch, generator))
            torch.randn(self.eps.shape[1:], generator=generator, out=self.eps[k])
        eps = self.eps.double().flatten(0, 1)
        kernel = self.table.take(self.times.flatten())
        u = noised(self.pool.take((self.rows + self.starts).flatten(), torch.cat(moves, dim=1)), kernel, eps)
        given = (u, eps[:, -1], kernel.mean, kernel.factor, kernel.inverse, kernel.signal)
        stacked = [part.view(*self.times.shape, *part.shape[1:]) for part in given]
        parameters = {name: _turned(p) for name, p in self.parameters.items()}
        with cast(self.recipe, self.device):
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
        state = module_of(self.models[k]).state_dict()
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


def train_together(
    defense: Defense,
    models: Sequence[Model],
    members: Sequence[Tensor],
    recipe: Recipe,
    seeds: Sequence[int],
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    snapshots: tuple[int, ...] = (),
    keep: Callable[[int, int, dict[str, Tensor]], None] = lambda k, done, state: None,
    bookmark: Bookmark | None = None,
) -> list[dict[str, Any]]:
    """Train K models in place as ``train`` would one by one, up to rounding.

    Args:
        defense: for which ``can_train_together`` holds.
        models: K models from ``blank_model``.
        members: K tensors (M_k, *item).
        recipe: steps, batch, learning rate, …
        seeds: K seeds of batches, times and noise.
        progress: called now and then with steps done and steps in all.
        snapshots: after how many steps the models so far are wanted.
        keep: called for each model with its number, the steps done and the denoiser's state, a copy.
        bookmark: see ``optimise``.

    Returns:
        Facts for the record, one per model.

    Raises:
        ValueError: where these models cannot train together.
        FloatingPointError: where the loss of one is no longer finite.
    """
    for model in models:
        module_of(model).train()
    task = Together(defense, models, members, recipe, seeds)

    def hand_out(done: int, average: dict[str, Tensor]) -> None:
        for k in range(len(models)):
            keep(k, done, task.unstack(average, k))

    losses = optimise(task, recipe, progress, snapshots, hand_out, bookmark)
    for k, model in enumerate(models):
        module_of(model).load_state_dict(task.unstack(task.parameters, k))
        module_of(model).eval()
    return [
        facts(recipe, part, loss, module_of(model))
        for model, part, loss in zip(models, members, losses.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Speed:
    """What training costs, in ms per step and model.

    Attributes:
        alone: one by one.
        together: all in one; infinite where that is impossible.
    """

    alone: float
    together: float

    @property
    def pays(self) -> bool:
        """Whether training together is faster."""
        return self.together < self.alone


def fastest(
    defense: Defense,
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
        defense, models, members, recipe, seeds: see ``train_together``.
        steps: how many are measured; their median counts.
        warmup: how many go before.
    """
    first = models[0]
    single = Model(first.process, copy.deepcopy(module_of(first)).train(), first.shape, first.device)
    alone = _measure(Alone(defense, single, members[0], recipe, seeds[0]), recipe, steps, warmup, first.device)
    if len(models) == 1 or not can_train_together(defense, models):
        return Speed(alone, math.inf)
    try:
        task = Together(defense, models, members, recipe, seeds)
        return Speed(alone, _measure(task, recipe, steps, warmup, first.device) / len(models))
    except RuntimeError:  # a plugin's network that vmap cannot follow, or more models than memory holds
        return Speed(alone, math.inf)


def _measure(task: Task, recipe: Recipe, steps: int, warmup: int, device: torch.device) -> float:
    """The median time of a step, in ms."""
    # on one thread, processor time is the same figure without what other processes of the machine take
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    optimizer, taken = optimiser(task, recipe), []
    for _ in range(warmup + steps):
        start = clock()
        task.step(optimizer)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append((clock() - start) * 1e3)
    return statistics.median(taken[warmup:])
