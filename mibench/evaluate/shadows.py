"""The shadow models of a target, shared by the attacks that ask for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mibench.context import Shadow
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Cost, Model
from mibench.errors import MibenchError
from mibench.evaluate.models import open_model, training_data
from mibench.evaluate.target import SharedModel, Target
from mibench.suite.cells import Cell

__all__ = ["Shadows"]


class Shadows:
    """Shadow models, opened when an attack first asks for them.

    Args:
        target: the model that they stand beside.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._opened: dict[tuple[str, int], tuple[SharedModel, Tensor, Tensor | None]] = {}

    def lend(self, cell: Cell, cost: Cost) -> Callable[[int, str], list[Shadow]]:
        """What a cell's attack calls to get shadow models, see ``Context.shadows``; evaluations are added to ``cost``."""
        declared = {shadow.shadow: shadow for shadow in cell.shadows()}

        def shadows(count: int, kind: str) -> list[Shadow]:
            if any((kind, k) not in declared for k in range(count)):
                raise MibenchError(
                    f"attack {cell.labels['attack']} asked for {count} {kind} shadow models; its shadow_models() "
                    f"declares {len(declared)} {cell.attack.shadow_models()[1] if cell.attack else ''} ones"
                )
            opened = [self._open(declared[kind, k]) for k in range(count)]  # type: ignore[index]
            return [
                Shadow(model.counted(cost), members.clone(), None if canaries is None else canaries.clone())
                for model, members, canaries in opened
            ]

        return shadows

    def unchanged(self) -> bool:
        """Whether all shadow models are as they were."""
        return all(model.unchanged() for model, *_ in self._opened.values())

    def restore(self) -> bool:
        """Put weights and modes back; whether all shadow models are now as they were."""
        return all([model.restore() for model, *_ in self._opened.values()])

    def _open(self, cell: Cell) -> tuple[SharedModel, Tensor, Tensor | None]:
        """A shadow model, its members and its canaries: a stored model, or the exact one where the target is exact."""
        assert cell.shadow is not None
        if cell.shadow not in self._opened:
            target = self._target
            drawn, size = training_data(cell, target.data), len(target.data.members)
            members, canaries = _in_order(drawn[:size]), _in_order(drawn[size:]) if len(drawn) > size else None
            if cell.model_kind == "trained":
                model = open_model(cell, target.store, target.data, target.device, target.cache)[0]
            else:
                points = members if canaries is None else torch.cat([members, canaries])
                exact = ExactDenoiser(points.to(target.device))
                model = Model(target.process, exact, target.data.shape, target.device, target.cache)
            self._opened[cell.shadow] = SharedModel(target.release(model, *cell.shadow)), members, canaries
        return self._opened[cell.shadow]


def _in_order(drawn: Tensor) -> Tensor:
    """Samples sorted by their values, since the order of the draw would tell members of the target from non-members."""
    return torch.tensor(sorted(drawn.flatten(1).tolist())).view_as(drawn)
