"""Training one model on its members."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mibench.diffusion.losses import NoisedBatch, noised
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.optimise import Callbacks, optimise
from mibench.diffusion.pool import Pool
from mibench.diffusion.process import Kernel, LinearSDE
from mibench.recipe import Recipe

__all__ = ["TIMES", "Objective", "SingleTrainer", "autocast_context", "drops", "time_table", "train", "training_facts"]

TIMES = 4096


class Objective(Protocol):
    """What a training needs of a defense; see ``mibench.defenses.Defense``."""

    @property
    def stackable(self) -> bool: ...

    def rows(self, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor: ...

    def changes(self, stage: str) -> bool: ...

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor: ...

    def losses(self, model: Model, batch: NoisedBatch) -> Tensor: ...

    def reduce(self, losses: Tensor) -> Tensor: ...

    def step(self, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor: ...


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


def drops(layer: nn.Module) -> bool:
    """Whether a layer is dropout, which draws from torch's global generator."""
    return isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0


class SingleTrainer:
    """The task of training one model; a defense's ``step`` is given it.

    Args:
        objective: the stages of a step, such as a defense.
        model: in training; its parameters change.
        members: (M, *item).
        recipe: batch, clip, precision, …
        seed: of all that is drawn.
        teachers: models that were trained before, which the loss may ask.

    Attributes:
        model, recipe: as given.
        size: M.
        generator: on the model's device. All that a step draws comes from it, except for dropout, which draws from torch's
            global one. Its state is saved with an interrupted training, which then resumes bit for bit.
    """

    def __init__(
        self,
        objective: Objective,
        model: Model,
        members: Tensor,
        recipe: Recipe,
        seed: int,
        teachers: Sequence[Model] = (),
    ) -> None:
        self.objective, self.model, self.recipe, self.teachers = objective, model, recipe, tuple(teachers)
        self.pool, self.size = Pool(members, model.device, recipe.augment), len(members)
        self.table = time_table(model.process, recipe, model.device)
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.generators = [self.generator]
        network = network_of(model)
        self.parameters: dict[str, Tensor] = dict(network.named_parameters())
        self.buffers = dict(network.named_buffers())
        self._dropout: torch.Generator | None = None
        if any(map(drops, network.modules())):
            self._dropout = torch.Generator().manual_seed(seed)
            self.generators.append(self._dropout)

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """See Task."""
        if self._dropout is None:
            return self.objective.step(self, optimizer)
        # dropout draws from torch's global generator, which is seeded anew for each step
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(torch.randint(1 << 62, (), generator=self._dropout)))
            return self.objective.step(self, optimizer)

    def batch(self, draws: int = 1, apart: bool = False) -> NoisedBatch:
        """The members of this step with noise.

        Args:
            draws: how often each stands in it, in a row, with times and noise of its own.
            apart: whether ``vary`` is given one member at a time, so that none can leave a trace in another's states.
        """
        device, objective = self.model.device, self.objective
        rows = objective.rows(self.size, self.recipe, self.generator)
        if draws > 1:
            rows = rows.repeat_interleave(draws)
        times = torch.randint(TIMES, (len(rows),), generator=self.generator, device=device)
        members = self.pool.batch(rows, self.pool.draw_augmentation(len(rows), self.generator))
        if apart and objective.changes("vary"):
            each = [objective.vary(copies, self.generator) for copies in torch.split(members, draws)]
            members = torch.cat(each) if each else members
        else:
            members = objective.vary(members, self.generator)
        eps = torch.randn(len(rows), *self.model.state_shape, generator=self.generator, device=device).double()
        kernel = self.table.take(times)
        return NoisedBatch(noised(members, kernel, eps), eps[:, -1], kernel, rows, self.teachers)

    def losses(self, batch: NoisedBatch) -> Tensor:
        """The loss of each state of a batch, (B,), in the precision of the recipe."""
        with autocast_context(self.recipe, self.model.device):
            return self.objective.losses(self.model, batch)

    def loss(self, batch: NoisedBatch) -> Tensor:
        """The loss of a batch, ()."""
        return self.objective.reduce(self.losses(batch))


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
    teachers: Sequence[Model] = (),
) -> dict[str, Any]:
    """Train a model in place; at the end it holds the moving average of the weights.

    Args:
        objective: the stages of a step, such as a defense.
        model: an untrained one.
        members: (M, *item).
        recipe: steps, batch, learning rate, …
        seed: of batches, times, noise and whatever else a step draws.
        callbacks: what it reports while it runs.
        teachers: models that were trained before, which the loss may ask.

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
    loss = optimise(SingleTrainer(objective, model, members, recipe, seed, teachers), recipe, callbacks, save_snapshot)
    network.eval()
    return training_facts(recipe, members, loss.item(), model)
