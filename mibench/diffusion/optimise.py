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
        buffers: what else a step may change, likewise.
        generators: what a step draws from.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    generators: list[torch.Generator]

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of the adam; the loss before it, () or (K,), detached."""
        ...


@dataclass
class TrainingState:
    """What a training carries from step to step beside weights, adam and generators.

    Attributes:
        average: the moving average of the parameters, by name.
        done: steps.
        losses: of the last tenth of the steps, (N,) or (N, K), those to come 0; None before it.
        snapshots: averages after so many steps.
    """

    average: dict[str, Tensor]
    done: int = 0
    losses: Tensor | None = None
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def tensors(self, task: Task, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """All that the steps to come depend on."""
        parts = {
            "weights": {name: value.detach() for name, value in (task.parameters | task.buffers).items()},
            "average": self.average,
            "generator": {str(k): generator.get_state() for k, generator in enumerate(task.generators)},
            "course": {"done": torch.tensor(self.done)} | ({} if self.losses is None else {"losses": self.losses}),
        }
        for place, values in optimizer.state_dict()["state"].items():
            parts[f"optimizer-{place}"] = values
        for done, averages in self.snapshots.items():
            parts[f"snapshot-{done}"] = averages
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    @classmethod
    @torch.no_grad()
    def restored(cls, state: dict[str, Tensor], task: Task, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Bring task and optimiser to a state, each tensor in the memory layout that it had."""
        parts: dict[str, dict[str, Tensor]] = {}
        for path, value in state.items():
            part, _, name = path.partition("/")
            parts.setdefault(part, {})[name] = value
        for name, value in (task.parameters | task.buffers).items():
            value.copy_(parts["weights"][name])
        for k, generator in enumerate(task.generators):
            generator.set_state(parts["generator"][str(k)])
        moments = {
            place: {
                name: torch.empty_like(p).copy_(value) if value.shape == p.shape else value
                for name, value in parts.get(f"optimizer-{place}", {}).items()
            }
            for place, p in enumerate(task.parameters.values())
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


def adam(task: Task, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam. It works element by element, so one serves any number of models."""
    return torch.optim.Adam(task.parameters.values(), lr=recipe.learning_rate, fused=True)


def lr_factor(recipe: Recipe, k: int) -> float:
    """The learning rate of step k, as a share of the peak: a linear warm-up, and a cosine to 0."""
    warmup = max(1, recipe.steps // 50)
    return min(1.0, (k + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, k / recipe.steps)))


@dataclass(frozen=True)
class Callbacks:
    """Who is told of a training while it goes on.

    Attributes:
        progress: called now and then with steps done and steps in all.
        snapshots: after how many steps the models so far are wanted.
        keep: called at the end for each model and snapshot with the model's number, the steps done and the denoiser's state,
            a copy, as it would be had the training ended there.
        sink: takes and gives back the state of a training under way.
    """

    progress: Callable[[int, int], None] = lambda done, total: None
    snapshots: tuple[int, ...] = ()
    keep: Callable[[int, int, dict[str, Tensor]], None] = lambda k, done, state: None
    sink: CheckpointSink | None = None


def optimise(
    task: Task, recipe: Recipe, callbacks: Callbacks, save_snapshot: Callable[[int, dict[str, Tensor]], None]
) -> Tensor:
    """Run the steps of a recipe, and leave the moving average in place of the weights.

    At which step a training was interrupted and resumed changes no bit.

    Args:
        task: what to optimise.
        recipe: steps, learning rate, decay.
        callbacks: who is told; all but ``keep``.
        save_snapshot: called at the end for each snapshot, with the steps done and the averages by name.

    Returns:
        The mean loss of the last tenth, () or (K,).

    Raises:
        FloatingPointError: where a loss is no longer finite.
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
        if sink is not None and state.done < recipe.steps and sink.due():
            sink.write(state.done, state.tensors(task, optimizer))
    for done, averages in state.snapshots.items():
        save_snapshot(done, averages)
    torch._foreach_copy_(weights, average)
    assert state.losses is not None
    return state.losses.mean(0)
