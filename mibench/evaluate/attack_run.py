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
from mibench.errors import Diverged, MibenchError, NotApplicable
from mibench.evaluate.isolation import isolated
from mibench.evaluate.scoring import LARGEST_SHIFT, changed, check_answer, past_others
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

    def result(self, order: Tensor) -> dict[str, Tensor]:
        """The scores of all samples by setting, in the order of the samples, (N,).

        Args:
            order: (N,) the indices of the samples in the order in which they were scored.

        Raises:
            MibenchError: where all scores are equal.
        """
        scores = {setting: torch.cat(batches)[order.argsort()] for setting, batches in self.scores.items()}
        if all((values == values[0]).all() for values in scores.values()):
            raise MibenchError(f"attack {self.attack.label} gives every sample the same score")
        return scores

    def unstable(
        self, scores: dict[str, Tensor], members: int, again: Tensor, x: Tensor, moved: Tensor
    ) -> dict[str, float]:
        """The settings whose scores rest on rounding, each with how far it moves them (``scoring.past_others``).

        Some samples are scored again in a batch of their own, with other last bits. Only where this changes their scores
        are they scored there as they are, to tell rounding from dependence on the batch.

        Args:
            scores: of all samples by setting, (N,), members first.
            members: how many these are.
            again: (B,) the indices of the samples that are scored again.
            x, moved: these samples, (B, *item), as they are and with other last bits.

        Raises:
            MibenchError: where scores depend on the other samples of the batch.
            NotApplicable: where every setting is unstable.
        """
        unstable, alone = {}, None
        for setting, values in self._answer_alone(moved, again).items():
            own, spread = scores[setting], scores[setting].std().item()
            if changed(own[again], values, spread):
                alone = alone or self._answer_alone(x, again)
                if changed(own[again], alone[setting], spread) and not changed(alone[setting], values, spread):
                    raise MibenchError(
                        f"attack {self.attack.label}, setting {setting!r}: scores depend on the other samples of the batch; "
                        "take noise from ctx, statistics from fit()"
                    )
            if (shift := past_others(own, again, values, members)) > LARGEST_SHIFT:
                unstable[setting] = round(shift, 4)
        if len(unstable) == len(scores):
            raise NotApplicable(
                f"rounding decides its scores on this model: a change of the samples in their last bit moves them past "
                f"{min(unstable.values()):.1%} of the other side or more"
            )
        return unstable

    def _answer_alone(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The scores of samples in a batch of their own; global random numbers are the same in each call."""
        with isolated(0, "scored again"):
            return self._answer(x, indices)

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
        NotApplicable: where the attack needs weights and the model has none, or canaries and the dataset has none.
    """
    assert cell.attack is not None
    if cell.attack.audits and not len(target.data.canaries):
        raise NotApplicable("the dataset has no canaries to audit with; name it with the option canaries=…")
    model, shadow_cost = target.model_for(cell), Cost()

    def draw(count: int) -> Tensor:
        model.require("samples", "generated samples")
        sampled = target.released.counted(model.cost)
        sampled.cache = None
        if sampled.is_conditional:
            sampled.under(target.data.draw_prompts(count, Context(cell.seed).generator("prompts")))
        return sample(sampled, count, Context(cell.seed).generator("samples"))

    ctx = Context(
        cell.seed,
        target.device,
        modality=cell.dataset.modality,
        auxiliary=target.data.reference.to(target.device, torch.float64),
        draw=draw,
        shadows=shadows.lend(cell, shadow_cost),
        file_facts=FileFacts(cell.dataset, cell.seed, target.data),
        vary=cell.defense.vary if cell.defense.varies else None,
        changed_release=cell.defense.changes("release"),
    )
    return AttackRun(cell_index, cell.attack, model, ctx, shadow_cost)
