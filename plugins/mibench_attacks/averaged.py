"""Averages over variations of the sample."""

from collections.abc import Iterator
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mibench import Context, Model
from mibench.errors import NotApplicable
from mibench_attacks.wrapper import Wrapper


class Averaged(Wrapper):
    """Average, written attack+averaged: the mean score of variations of the sample, by who knows the defense's measures.

    A model that was trained on variations of its members knows these better than the members themselves; and the noise that
    a release adds to its answers is another one for each variation.
    """

    name = "averaged"
    paper = "arXiv 2007.14321; 2112.03570 (queries of augmented samples)"

    queries: int = Field(16, ge=2, le=10_000, description="variations of each sample")
    std: float = Field(0.01, gt=0, le=1, description="of the Gaussian change of a sample, where the release is changed")

    @model_validator(mode="after")
    def _asks_the_target_alone(self) -> Self:
        if isinstance(self.base, Averaged) or self.base.audits or self.base.tier not in ("network", "weights"):
            raise ValueError(
                f"it averages attacks that ask the network, without shadow models; {self.base.label} is none"
            )
        return self

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Fit the base on one variation of each sample, the next one for the next sample."""
        self.base.fit(model, self._one_each(members, ctx), self._one_each(nonmembers, ctx), ctx)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The mean over variations of each setting of the base; as many times its evaluations."""
        scores: dict[str, Tensor] = {}
        for varied in torch.stack([*self._variations(x, ctx)], 1):
            for setting, values in self.base.score(model, varied, ctx).items():
                scores[setting] = scores.get(setting, 0) + values / self.queries
        return scores

    def _one_each(self, x: Tensor, ctx: Context) -> Tensor:
        """One variation of each sample, (B, *item)."""
        return torch.stack([varied[k % self.queries].clone() for k, varied in enumerate(self._variations(x, ctx))])

    def _variations(self, x: Tensor, ctx: Context) -> Iterator[Tensor]:
        """Of each sample of (B, *item), as many as there are queries, (Q, *item), by the same random numbers for all samples.

        Those that a step of the training makes of Q copies of the sample, and where the release is changed, each with its own
        Gaussian noise. A measure that mixes the members of a step only mixes these copies.
        """
        if ctx.vary is None and not ctx.changed_release:
            raise NotApplicable("the defense varies no sample and changes no answer: the base attack is the same")
        noise = self.std * ctx.noise("changes", self.queries, *x.shape[1:]) if ctx.changed_release else torch.zeros(())
        for one in x.cpu():
            copies = one.repeat(self.queries, *[1] * one.dim())
            if ctx.vary:
                copies = ctx.vary(copies, ctx.generator("variations"))
            yield copies.to(x.device) + noise.to(x.device)
