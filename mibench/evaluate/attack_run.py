"""One attack on one model: it learns, then scores the samples batch by batch."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mibench.components import Attack
from mibench.context import Context
from mibench.data import FileFacts
from mibench.diffusion.model import Cost, Model
from mibench.diffusion.sampling import sample
from mibench.errors import Diverged, MibenchError
from mibench.evaluate.scoring import check_answer, check_rescored
from mibench.evaluate.shadows import Shadows
from mibench.evaluate.target import Target
from mibench.suite.cells import Cell

__all__ = ["AttackRun", "prepare_attack"]


@dataclass
class AttackRun:
    """One attack on one model.

    Attributes:
        cell_index: of its cell in the job's list.
        attack: the attack.
        model: with the access that the attack declares.
        ctx: what the attack is given beside the model.
        shadow_cost: evaluations of shadow models while scoring; ``learn`` sets both counters back to 0.
        fit_cost: evaluations of all models in ``learn``.
        seconds: that the attack has taken.
        scores: by setting, one tensor (B,) for each batch so far.
    """

    cell_index: int
    attack: Attack
    model: Model
    ctx: Context
    shadow_cost: Cost
    fit_cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    scores: dict[str, list[Tensor]] = field(default_factory=dict)

    def learn(self, members: Tensor, nonmembers: Tensor) -> None:
        """Let the attack learn from the calibration samples."""
        began = time.monotonic()
        with torch.no_grad():
            self.attack.fit(self.model, members, nonmembers, self.ctx)
        own, shadows = self.model.cost, self.shadow_cost
        self.fit_cost = Cost(own.forwards + shadows.forwards, own.vjps + shadows.vjps)
        self.model.cost, shadows.forwards, shadows.vjps = Cost(), 0, 0
        self.seconds += time.monotonic() - began

    def score(self, x: Tensor, indices: Tensor) -> None:
        """Score a batch of samples (B, *item); ``indices`` (B,) count them over members and non-members."""
        began = time.monotonic()
        for setting, values in self._answer(x, indices).items():
            self.scores.setdefault(setting, []).append(values)
        self.seconds += time.monotonic() - began

    def facts(self) -> dict[str, Any]:
        """What the scores have cost, as it is stored with them."""
        learned = {"fit": self.fit_cost, "shadows": self.shadow_cost}
        costs = {name: astuple(cost) for name, cost in learned.items() if cost != Cost()}
        return {**vars(self.model.cost), "seconds": self.seconds, **costs}

    def result(self, order: Tensor, again: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The scores of all samples by setting, in the order of the samples, (N,).

        Args:
            order: (N,) the indices of the samples in the order in which they were scored.
            again: (B,) the indices of samples that are scored once more, in a batch of their own.
            x: these samples, (B, *item).

        Raises:
            MibenchError: where all scores are equal, or depend on the other samples of the batch.
        """
        scores = {setting: torch.cat(batches)[order.argsort()] for setting, batches in self.scores.items()}
        if all((values == values[0]).all() for values in scores.values()):
            raise MibenchError(f"attack {self.attack.label} gives every sample the same score")
        for setting, values in self._answer(x, again).items():
            check_rescored(scores[setting], again, values, f"attack {self.attack.label}, setting {setting!r}")
        return scores

    def _answer(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The attack's scores of a batch by setting, checked, float64 on the CPU.

        Raises:
            MibenchError: naming the attack, the setting and what is wrong.
            Diverged: naming time and sample, counted over members and non-members.
        """
        try:
            with torch.no_grad():
                answer = self.attack.score(self.model, x, self.ctx)
        except Diverged as error:
            raise Diverged(int(indices[error.sample]), error.t) from None
        check_answer(answer, len(x), self.model.device, f"attack {self.attack.label}")
        if self.scores and set(self.scores) != set(answer):
            raise MibenchError(f"attack {self.attack.label} does not return the same settings for every batch")
        return {setting: values.detach().double().cpu() for setting, values in answer.items()}


def prepare_attack(cell_index: int, cell: Cell, target: Target, shadows: Shadows) -> AttackRun:
    """The run of a cell's attack, before it learns.

    Raises:
        NotApplicable: where the attack needs weights and the model has none.
    """
    assert cell.attack is not None
    model, shadow_cost = target.model_for(cell), Cost()

    def draw(count: int) -> Tensor:
        model.require("samples", "generated samples")
        sampled = target.released.counted(model.cost)
        sampled.cache = None
        return sample(sampled, count, Context(cell.seed).generator("samples"))

    ctx = Context(
        cell.seed,
        target.device,
        modality=cell.dataset.modality,
        auxiliary=target.data.reference.to(target.device, torch.float64),
        draw=draw,
        shadows=shadows.lend(cell, shadow_cost),
        file_facts=FileFacts(cell.dataset, cell.seed, target.data),
    )
    return AttackRun(cell_index, cell.attack, model, ctx, shadow_cost)
