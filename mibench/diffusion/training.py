"""Training a denoiser on the members."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mibench.components import Defense
from mibench.diffusion.course import Course
from mibench.diffusion.denoisers import NetworkDenoiser, PlainDenoiser, SufficientDenoiser, expand
from mibench.diffusion.model import Model
from mibench.diffusion.pool import Pool
from mibench.diffusion.process import Kernel, LinearSDE
from mibench.recipe import Recipe

__all__ = [
    "TIMES",
    "Alone",
    "Bookmark",
    "Task",
    "blank_model",
    "cast",
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
    """An untrained model of a defense; on CUDA its weights of convolutions lie in memory as these are fastest, channels last.

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
    denoiser = parameterisation(network, data_variance).to(device)
    if torch.device(device).type == "cuda":
        denoiser = denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(process, denoiser, shape, device)


def module_of(model: Model) -> NetworkDenoiser:
    """The denoiser of a model that can be trained."""
    assert isinstance(model.denoiser, NetworkDenoiser), "only a model with a network can be trained"
    return model.denoiser


def time_table(process: LinearSDE, recipe: Recipe, device: torch.device) -> Kernel:
    """The kernel at the quantiles of the training times, from which a step gathers its own."""
    quantiles = (torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES
    if recipe.log_snr is None:
        times = process.t_min + (process.horizon - process.t_min) * quantiles**recipe.time_power
    else:
        mean, sd = recipe.log_snr
        high, low = torch.special.ndtr((torch.tensor(process.log_snr_range, dtype=torch.float64) - mean) / sd)
        times = process.time_at(mean + sd * torch.special.ndtri(low + (high - low) * quantiles))
    return process.tabulated(times).to(device)


def cast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """What a forward pass of training runs in: autocast to bfloat16, float64 excepted, where the recipe asks for it."""
    return torch.autocast(device.type, torch.bfloat16) if recipe.precision == "bf16" else nullcontext()


class Task(Protocol):
    """Something to optimise: one model, or several of one shape.

    Attributes:
        parameters: by name; stacked where there are several models.
        buffers: what else a step may change, likewise.
        generators: what a step draws from.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    generators: list[torch.Generator]

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
        self.pool, self.size = Pool(members, model.device, recipe.augment), len(members)
        self.table = time_table(model.process, recipe, model.device)
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.generators = [self.generator]
        self.parameters: dict[str, Tensor] = dict(module_of(model).named_parameters())
        self.buffers = dict(module_of(model).named_buffers())

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        batch, device = (self.recipe.batch,), self.model.device
        rows = torch.randint(self.size, batch, generator=self.generator, device=device)
        times = torch.randint(TIMES, batch, generator=self.generator, device=device)
        members = self.pool.take(rows, self.pool.moves(self.recipe.batch, self.generator))
        with cast(self.recipe, device):
            loss = self.defense.loss(self.model, members, self.table.take(times), self.generator)
        self.defense.update(self.model, loss, optimizer, self.recipe.clip)
        return loss.detach()


class Bookmark(Protocol):
    """Keeps a training under way, so that one that was interrupted goes on where it was."""

    def read(self) -> dict[str, Tensor] | None:
        """What was written last, on the CPU; None where nothing was."""
        ...

    def due(self) -> bool:
        """Whether it is time to write again."""
        ...

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        """Keep the state after so many steps."""
        ...


def optimiser(task: Task, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam. It works element by element, so one serves any number of models."""
    return torch.optim.Adam(task.parameters.values(), lr=recipe.learning_rate, fused=True)


def pace(recipe: Recipe, k: int) -> float:
    """The learning rate of step k, as a share of the peak: a linear warm-up, and a cosine to 0."""
    warmup = max(1, recipe.steps // 50)
    return min(1.0, (k + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, k / recipe.steps)))


def optimise(
    task: Task,
    recipe: Recipe,
    progress: Callable[[int, int], None],
    snapshots: tuple[int, ...],
    keep: Callable[[int, dict[str, Tensor]], None],
    bookmark: Bookmark | None = None,
) -> Tensor:
    """Run the steps of a recipe, and leave the moving average in place of the weights.

    Args:
        task: what to optimise.
        recipe: steps, learning rate, decay.
        progress: called now and then with steps done and steps in all.
        snapshots: after how many steps ``keep`` wants the averages.
        keep: called at the end for each of these, with the steps done and the averages by name.
        bookmark: where it goes on, and is kept by time; a step more or less at which it was interrupted changes no bit.

    Returns:
        The mean loss of the last tenth, () or (K,).

    Raises:
        FloatingPointError: where a loss is no longer finite.
    """
    optimizer = optimiser(task, recipe)
    course = Course({name: p.detach().clone() for name, p in task.parameters.items()})
    if bookmark is not None and (state := bookmark.read()) is not None:
        course = Course.of(state, task, optimizer)
    weights, average = [p.detach() for p in task.parameters.values()], list(course.average.values())
    tail = recipe.steps * 9 // 10
    for k in range(course.done, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * pace(recipe, k)
        loss = task.step(optimizer)
        decay = min(recipe.ema, (k + 1) / (k + 10))
        torch._foreach_lerp_(average, weights, 1 - decay)
        course.done = k + 1
        if k >= tail:
            if course.losses is None:
                course.losses = loss.new_zeros(recipe.steps - tail, *loss.shape)
            course.losses[k - tail] = loss
        if course.done % 200 == 0 or course.done == recipe.steps:
            if not torch.isfinite(loss).all():
                raise FloatingPointError(f"the training loss is {loss.tolist()} at step {k + 1}")
            progress(course.done, recipe.steps)
        if course.done in snapshots:
            course.snapshots[course.done] = {name: value.clone() for name, value in course.average.items()}
        if bookmark is not None and course.done < recipe.steps and bookmark.due():
            bookmark.write(course.done, course.state(task, optimizer))
    for done, averages in course.snapshots.items():
        keep(done, averages)
    torch._foreach_copy_(weights, average)
    assert course.losses is not None
    return course.losses.mean(0)


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
    bookmark: Bookmark | None = None,
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
        bookmark: see ``optimise``.

    Returns:
        Facts for the record: steps, epochs per member, the mean loss of the last tenth.

    Raises:
        FloatingPointError: where the loss is no longer finite.
    """
    module = module_of(model)

    def hand_out(done: int, average: dict[str, Tensor]) -> None:
        keep(done, {name: average.get(name, value).detach().clone() for name, value in module.state_dict().items()})

    module.train()
    loss = optimise(Alone(defense, model, members, recipe, seed), recipe, progress, snapshots, hand_out, bookmark)
    module.eval()
    return facts(recipe, members, loss.item(), module)
