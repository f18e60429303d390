"""Differentially private training."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mibench import Claim, Dataset, Defense, Kernel, Measure, NoisedBatch, Recipe, UsageError
from mibench.claims import calibrated
from mibench.diffusion.model import network_of
from mibench.diffusion.per_member import clipped_sum
from mibench.diffusion.training import SingleTrainer

USUAL = 10.0  # ε, where neither ε nor noise is given


class DPSGD(Measure):
    """DP-SGD: each member's gradient is clipped, and Gaussian noise is added to their sum.

    Abadi et al. (1607.00133), with K draws of time and noise per member and step, averaged before clipping (2210.09929). A
    step takes each member with the same probability (Poisson sampling), so that an accountant can tell (ε, δ); the noise is
    calibrated to the ε that is asked for. The moving average of the weights is post-processing.
    """

    name = "dp-sgd"
    title = "DP-SGD"
    paper = "arXiv 1607.00133, 2210.09929"
    stage = "step"
    adaptive = ("audit", "lira")

    epsilon: float | None = Field(
        None, gt=0, le=1000, description="ε to which the noise is calibrated; 10 where no noise is given"
    )
    noise: float | None = Field(None, gt=0, le=1e6, description="noise multiplier σ, in place of epsilon")
    delta: float = Field(1e-5, gt=0, lt=1, description="δ; it should be well below 1 / members")
    clip: float = Field(0.3, gt=0, le=1e6, description="largest norm of a member's gradient")
    draws: int = Field(4, ge=1, le=1024, description="K, draws of time and noise per member and step")
    batch: int | None = Field(
        None, ge=1, le=65536, description="members per step on average; by default the recipe's batch"
    )
    steps: float = Field(0.1, gt=0, le=1, description="share of the recipe's steps that are taken")
    learning_rate: float | None = Field(0.005, gt=0, le=1, description="peak rate of Adam; none for the recipe's")
    chunk: int = Field(32, ge=1, le=65536, description="members whose gradients are in memory at a time")

    @model_validator(mode="before")
    @classmethod
    def _one_of_two(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("noise") is None:
            return {**values, "epsilon": USUAL if values.get("epsilon") is None else values["epsilon"]}
        if values.get("epsilon") is not None:
            raise ValueError("give epsilon or noise, not both")
        return values

    def check(self, inner: Defense, dataset: Dataset, recipe: Recipe) -> None:
        """A step cannot take more than all members."""
        batch = self.adapt_recipe(recipe).batch
        if batch > dataset.members:
            raise UsageError(
                f"{self.label}: a step would take {batch} of {dataset.members} members; give dp-sgd a batch of at most that"
            )

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """Fewer and larger steps, as 2210.09929 advises."""
        changes = {
            "steps": max(1, round(self.steps * recipe.steps)),
            "batch": self.batch or recipe.batch,
            "learning_rate": self.learning_rate or recipe.learning_rate,
            "clip": self.clip,
        }
        return recipe.model_copy(update=changes)

    def claim(self, inner: Defense, members: int, recipe: Recipe, steps: int | None) -> Claim:
        """By dp-accounting, for the noise that the whole training has."""
        return Claim.of(
            noise=self._multiplier(members, recipe),
            rate=_rate(members, recipe),
            steps=steps or recipe.steps,
            delta=self.delta,
            clip=self.clip,
            draws=self.draws,
        )

    def rows(self, inner: Defense, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
        """Poisson sampling: each member with the same probability, by itself."""
        drawn = torch.rand(size, generator=generator, device=generator.device, dtype=torch.float64)
        return (drawn < _rate(size, recipe)).nonzero()[:, 0]

    def step(self, inner: Defense, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor:
        """1607.00133, algorithm 1, with Adam: the noisy sum over the members that are expected in a step; none may come."""
        batch, recipe = training.batch(self.draws, apart=True), training.recipe
        count = len(batch.rows) // self.draws
        parts = (batch.u, batch.target, batch.rows, *vars(batch.kernel).values())
        inputs = [part.reshape(count, self.draws, *part.shape[1:]) for part in parts]

        def losses(u: Tensor, target: Tensor, rows: Tensor, *kernel: Tensor) -> Tensor:
            return training.losses(NoisedBatch(u, target, Kernel(*kernel), rows))

        network = network_of(training.model)
        total, loss = clipped_sum(losses, network, inputs, self.clip, self.chunk)
        std = self._multiplier(training.size, recipe) * self.clip
        for name, p in network.named_parameters():
            if name in total:
                noise = torch.randn(p.shape, generator=training.generator, device=p.device, dtype=p.dtype)
                p.grad = (total[name] + std * noise) / recipe.batch
        optimizer.step()
        return loss

    def _multiplier(self, members: int, recipe: Recipe) -> float:
        """σ, given or calibrated."""
        if self.noise is not None:
            return self.noise
        assert self.epsilon is not None
        return calibrated(self.epsilon, _rate(members, recipe), recipe.steps, self.delta)


def _rate(members: int, recipe: Recipe) -> float:
    """q, the probability with which a member is in a step."""
    return min(1.0, recipe.batch / members)
