"""The loop of a training: Adam, the learning rate, the moving average, and a state that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mibench.recipe import Recipe

__all__ = ["Callbacks", "CheckpointSink", "Task", "TrainingState", "adam", "lr_factor", "optimise"]


class Task(Protocol):
    """Something to optimise: one model, or several of one shape.

    Attributes:
        parameters: by name; stacked where there are several models.
        buffers: all else that a step may change, likewise.
        generators: all that a step draws from.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    generators: list[torch.Generator]

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of the optimiser; the loss before it, () or (K,), detached."""
        ...


@dataclass
class TrainingState:
    """What a training carries from step to step besides weights, optimiser and generators.

    Attributes:
        average: the moving average of the parameters, by name.
        done: steps taken.
        losses: of the last tenth of the steps, (N,) or (N, K), 0 for steps to come; None before it.
        snapshots: {steps: the average after so many steps}.
    """

    average: dict[str, Tensor]
    done: int = 0
    losses: Tensor | None = None
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def tensors(self, task: Task, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Everything on which further steps depend, by name."""
        parts = {
            "weights": {name: value.detach() for name, value in (task.parameters | task.buffers).items()},
            "average": self.average,
            "generator": {str(k): generator.get_state() for k, generator in enumerate(task.generators)},
            "course": {"done": torch.tensor(self.done)} | ({} if self.losses is None else {"losses": self.losses}),
        }
        for index, values in optimizer.state_dict()["state"].items():
            parts[f"optimizer-{index}"] = values
        for done, averages in self.snapshots.items():
            parts[f"snapshot-{done}"] = averages
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    @classmethod
    @torch.no_grad()
    def restored(cls, state: dict[str, Tensor], task: Task, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Load a state into task and optimiser, each tensor in its own memory layout."""
        parts: dict[str, dict[str, Tensor]] = {}
        for path, value in state.items():
            part, _, name = path.partition("/")
            parts.setdefault(part, {})[name] = value
        for name, value in (task.parameters | task.buffers).items():
            value.copy_(parts["weights"][name])
        for k, generator in enumerate(task.generators):
            generator.set_state(parts["generator"][str(k)])
        moments = {
            index: {
                name: torch.empty_like(p).copy_(value) if value.shape == p.shape else value
                for name, value in parts.get(f"optimizer-{index}", {}).items()
            }
            for index, p in enumerate(task.parameters.values())
        }
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": {k: m for k, m in moments.items() if m}, "param_groups": groups})

        def averages(part: str) -> dict[str, Tensor]:
            return {name: torch.empty_like(p).copy_(parts[part][name]) for name, p in task.parameters.items()}

        losses, device = parts["course"].get("losses"), next(iter(task.parameters.values())).device
        return cls(
            average=averages("average"),
            done=int(parts["course"]["done"]),
            losses=None if losses is None else losses.to(device),
            snapshots={
                int(part.removeprefix("snapshot-")): averages(part) for part in parts if part.startswith("snapshot-")
            },
        )


class CheckpointSink(Protocol):
    """Saves the state of a training, so that an interrupted one can be resumed."""

    def read(self) -> dict[str, Tensor] | None:
        """The state that was saved last, on the CPU; None if there is none."""
        ...

    def due(self) -> bool:
        """Whether it is time to save again."""
        ...

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        """Save the state after so many steps."""
        ...


def adam(task: Task, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay. It works element by element, so that one serves any number of stacked models."""
    return torch.optim.AdamW(
        task.parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


def lr_factor(recipe: Recipe, k: int) -> float:
    """The learning rate of step k as a fraction of the peak: a linear warm-up times a cosine to 0."""
    warmup = max(1, recipe.steps // 50)
    return min(1.0, (k + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, k / recipe.steps)))


@dataclass(frozen=True)
class Callbacks:
    """What a training reports while it runs.

    Attributes:
        progress: called now and then with the steps done and the total.
        snapshots: the numbers of steps after which a model is to be kept.
        keep: called at the end for each model and snapshot with the index of the model, the steps done and a copy of the
            denoiser's state, as if the training had ended there.
        sink: saves and restores the state of an interrupted training.
        save_end: whether the state after the last step is saved, too.
    """

    progress: Callable[[int, int], None] = lambda done, total: None
    snapshots: tuple[int, ...] = ()
    keep: Callable[[int, int, dict[str, Tensor]], None] = lambda k, done, state: None
    sink: CheckpointSink | None = None
    save_end: bool = False


def optimise(
    task: Task, recipe: Recipe, callbacks: Callbacks, save_snapshot: Callable[[int, dict[str, Tensor]], None]
) -> Tensor:
    """Run the steps of a recipe, then replace the weights by their moving average.

    Interrupting and resuming a training, at any step, changes no bit of the result.

    Args:
        task: what to optimise.
        recipe: steps, learning rate, decay.
        callbacks: all but ``keep`` is used here.
        save_snapshot: called at the end for each snapshot, with the steps done and the averages by name.

    Returns:
        The mean loss of the last tenth, () or (K,).

    Raises:
        FloatingPointError: if a loss is not finite.
    """
    optimizer, sink = adam(task, recipe), callbacks.sink
    state = TrainingState({name: p.detach().clone() for name, p in task.parameters.items()})
    if sink is not None and (saved := sink.read()) is not None:
        state = TrainingState.restored(saved, task, optimizer)
    weights, average = [p.detach() for p in task.parameters.values()], list(state.average.values())
    tail = recipe.steps * 9 // 10
    for k in range(state.done, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * lr_factor(recipe, k)
        loss = task.step(optimizer)
        decay = min(recipe.ema, (k + 1) / (k + 10))
        torch._foreach_lerp_(average, weights, 1 - decay)
        state.done = k + 1
        if k >= tail:
            if state.losses is None:
                state.losses = loss.new_zeros(recipe.steps - tail, *loss.shape)
            state.losses[k - tail] = loss
        if state.done % 200 == 0 or state.done == recipe.steps:
            if not torch.isfinite(loss).all():
                raise FloatingPointError(f"the training loss is {loss.tolist()} at step {k + 1}")
            callbacks.progress(state.done, recipe.steps)
        if state.done in callbacks.snapshots:
            state.snapshots[state.done] = {name: value.clone() for name, value in state.average.items()}
        at_end = state.done == recipe.steps
        if sink is not None and (callbacks.save_end if at_end else sink.due()):
            sink.write(state.done, state.tensors(task, optimizer))
    for done, averages in state.snapshots.items():
        save_snapshot(done, averages)
    torch._foreach_copy_(weights, average)
    assert state.losses is not None
    return state.losses.mean(0)
