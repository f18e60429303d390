"""CLiD."""

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, Model
from mibench_attacks.options import Time


class CLiD(Attack):
    """CLiD: how much the condition of a sample lowers its loss; of a member it tells the model more."""

    name = "clid"
    paper = "arXiv 2405.14800"
    published = "combined"

    times: tuple[Time, ...] = Field((0.05, 0.1, 0.2, 0.35, 0.5), min_length=1, description="fractions of the horizon")
    draws: int = Field(8, ge=1, le=10_000, description="noise draws R at each time")
    weight: float = Field(
        0.9, ge=0, le=1, description="of the difference in the combined score; the rest is that of the loss"
    )

    _scales: tuple[tuple[float, float], ...] = PrivateAttr(())

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Median and interquartile range of differences and losses on the non-members, which bring both to one scale."""
        parts = self._parts(model, nonmembers, ctx)
        quartiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
        spread = [part.mean(1).cpu().quantile(quartiles).tolist() for part in parts]
        self._scales = tuple((middle, max(high - low, 1e-12)) for low, middle, high in spread)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """L(x, ∅) − L(x, c) at each time, with L the loss averaged over R draws, and its mean combined with −L(x, c).

        2 R evaluations per time.

        Raises:
            NotApplicable: where the model is not conditional, or knows no empty condition.
        """
        difference, loss = self._parts(model, x, ctx)
        scores = {f"t={time:g}": difference[:, k] for k, time in enumerate(self.times)}
        scaled = [
            (part.mean(1) - low) / width for part, (low, width) in zip((difference, loss), self._scales, strict=True)
        ]
        return scores | {"combined": self.weight * scaled[0] - (1 - self.weight) * scaled[1]}

    def _parts(self, model: Model, x: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        """L(x, ∅) − L(x, c) and L(x, c), (B, K) each."""
        given, empty = [], []
        for t in (time * model.process.horizon for time in self.times):
            losses: tuple[list[Tensor], list[Tensor]] = [], []
            for eps in ctx.noise("draws", self.draws, *model.state_shape):
                u = model.noised(x, eps, t)
                losses[0].append((model.eps(u, t) - eps[-1]).flatten(1).square().mean(1))
                model.under_none(len(x))
                losses[1].append((model.eps(u, t) - eps[-1]).flatten(1).square().mean(1))
            given.append(torch.stack(losses[0]).mean(0))
            empty.append(torch.stack(losses[1]).mean(0))
        return torch.stack(empty, 1) - torch.stack(given, 1), torch.stack(given, 1)
