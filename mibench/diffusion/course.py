"""Where a training is, as named tensors and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mibench.diffusion.training import Task

__all__ = ["Course"]


@dataclass
class Course:
    """What a training carries from step to step beside weights, optimiser and generators.

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

    def state(self, task: Task, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
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
    def of(cls, state: dict[str, Tensor], task: Task, optimizer: torch.optim.Optimizer) -> Course:
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
