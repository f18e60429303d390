"""A complete mibench plugin: one dataset, one defense, one measure, one attack."""

import math

import torch
from pydantic import Field
from torch import Tensor

from mibench import POINTS, Attack, Context, Dataset, Defense, LinearSDE, Measure, Model, hookimpl


class Rings(Dataset):
    """Points on concentric rings in the plane, drawn afresh for each seed."""

    name = "rings"
    modality = POINTS
    recipe = {"steps": 3000, "batch": 128, "fourier": 64}

    rings: int = Field(2, ge=1, le=10, description="number of rings; the outer one has the radius 1.5")
    noise: float = Field(0.05, ge=0, le=1, description="standard deviation of the noise")

    def pool(self, generator: torch.Generator) -> Tensor:
        """(members + nonmembers + reference, 2). All randomness comes from the generator."""
        count = self.members + self.nonmembers + self.reference
        radius = 1.5 * (1 + torch.randint(self.rings, (count, 1), generator=generator)) / self.rings
        angle = 2 * math.pi * torch.rand(count, 1, generator=generator)
        noise = self.noise * torch.randn(count, 2, generator=generator)
        return radius * torch.cat([angle.cos(), angle.sin()], dim=1) + noise


class InputNoise(Defense):
    """VP trained on members that carry fresh Gaussian noise, so that none is seen twice."""

    name = "input-noise"

    scale: float = Field(0.1, ge=0, le=10, description="standard deviation of the noise")

    def process(self) -> LinearSDE:
        """VP with b(t) = 0.1 + 19.9 t."""
        return LinearSDE(
            [[-0.5]],
            [1.0],
            rate=lambda t: 0.1 + 19.9 * t,
            elapsed=lambda t: 0.1 * t + 19.9 * t**2 / 2,
            horizon=1.0,
            initial=[0.0],
            prior=[1.0],
            t_min=self.t_min,
        )

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Members as a step sees them. All randomness comes from the generator."""
        return x + self.scale * torch.randn(x.shape, generator=generator, device=x.device)


class RandomSign(Measure):
    """Each step sees a random share of its members with the other sign, whatever the defense."""

    name = "random-sign"
    stage = "data"

    share: float = Field(0.5, ge=0, le=1, description="of the members whose sign changes")

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Members (B, *item) as a step sees them. All randomness comes from the generator."""
        changed = torch.rand(len(x), generator=generator, device=x.device) < self.share
        return torch.where(changed.view(-1, *[1] * (x.dim() - 1)), -x, x)


class FirstAnswer(Attack):
    """The size of the network's answer to the sample itself, at the smallest time."""

    name = "first-answer"
    published = "t_min"

    p: float = Field(2.0, ge=1, le=100, description="of the norm")

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−‖ε_θ((x, 0), t_min)‖_p: a network that knows the sample finds no noise in it."""
        answer = model.eps(model.at_rest(x), model.process.t_min)
        return {"t_min": -answer.flatten(1).norm(p=self.p, dim=1)}


@hookimpl
def mibench_datasets() -> list[type[Dataset]]:
    """The datasets of this plugin."""
    return [Rings]


@hookimpl
def mibench_defenses() -> list[type[Defense]]:
    """The defenses of this plugin."""
    return [InputNoise]


@hookimpl
def mibench_measures() -> list[type[Measure]]:
    """The measures of this plugin."""
    return [RandomSign]


@hookimpl
def mibench_attacks() -> list[type[Attack]]:
    """The attacks of this plugin."""
    return [FirstAnswer]
