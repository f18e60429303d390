"""The loading check: before any attack, whether the network denoises the members as it is set up to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mibench.auditing.checkpoint import parameters_of
from mibench.auditing.denoiser import GivenDenoiser
from mibench.diffusion.model import Model
from mibench.diffusion.networks import conditioned
from mibench.errors import UsageError
from mibench.seeds import generator

__all__ = ["LoadingCheck", "check_loading"]

LEVELS, DRAWS = 8, 2
LARGE = 4_000_000
"""Parameters from which on fewer samples are used."""
MARGIN = 0.9
"""Another setting is taken to be the right one where it leaves less than this share of the loss."""
REACH = (-1, -0.75, -0.5, -0.3, -0.15, 0, 0.15, 0.3, 0.5, 0.75, 1)
"""The steps that are told to the network in place of the right one, in quarters of all steps from it."""
RIGHT = REACH.index(0)

TYPES = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True)
class LoadingCheck:
    """What the loading check measured: mean square errors over eight steps, in units of what the network predicts.

    Attributes:
        loss: on members, as the model is set up.
        linear: of the best answer that is linear in the noised sample.
        types: the loss with each prediction type over the linear one of that type, its own first; none where the network is of
            no type that can be mistaken.
        own: the loss on half of the samples.
        shifted: the same with those steps told to the network that suit it best on the other half.
        told: such a step for the middle one of the eight, and that one; equal where not most of the eight have moved.
        reversed_channels: the loss with the order of three channels reversed; None of other numbers and of latents.
        rescaled: the loss with samples mapped from [−1, 1] to [0, 1] and the other way, by the option that maps them so; none of
            latents.
    """

    loss: float
    linear: float
    types: dict[str, float]
    own: float
    shifted: float
    told: tuple[float, float]
    reversed_channels: float | None
    rescaled: dict[str, float]

    def refuse(self) -> None:
        """UsageError where the model is not set up as it was trained, with what was measured and what to do."""
        if found := self.problem():
            raise UsageError(f"loading check: {found}")

    def problem(self) -> str | None:
        """What is wrong: the change that leaves the least of the loss, or that nothing tried helps."""
        share, text = min(self._changes(), default=(1.0, ""))
        if share < MARGIN:
            return text
        if not self.loss < self.linear:  # or it is NaN
            return (
                f"{self._measured()}: the model was not loaded as it was trained, or the files are not like those that it "
                "was trained on"
            )
        return None

    def _measured(self) -> str:
        return f"the loss on the members is {self.loss:.3g}, that of the best linear answer {self.linear:.3g}"

    def _changes(self) -> Iterator[tuple[float, str]]:
        """For each change of the settings that makes the network better than linear: the share of the loss, and what to do."""
        option, rescaled = min(self.rescaled.items(), key=lambda item: item[1], default=("", math.inf))
        if (
            rescaled < self.linear <= self.loss
        ):  # a narrower range also lowers the loss of a network that is set up right
            yield (
                rescaled / self.loss,
                f"{self._measured()}; with values of another scale it is {rescaled:.3g}: give {option}",
            )
        if self.types:
            own, other = next(iter(self.types)), min(self.types, key=lambda name: self.types[name])
            if self.types[other] < 1:
                yield (
                    self.types[other] / self.types[own],
                    f"as {own} the network leaves {self.types[own]:.3g} of the best linear answer's loss, as {other} "
                    f"{self.types[other]:.3g}: its prediction type is another one; correct the scheduler's config",
                )
        if self.reversed_channels is not None and self.reversed_channels < self.linear:
            yield (
                self.reversed_channels / self.loss,
                f"{self._measured()}; with the channels in reverse order it is {self.reversed_channels:.3g}: the model was "
                "trained on images with blue first; save the files so",
            )
        if self.told[0] != self.told[1] and self.shifted < self.linear:
            yield (
                self.shifted / self.own,
                f"told step {self.told[0]:.0f} in place of {self.told[1]:.0f}, and likewise at other steps, the network's "
                f"loss falls from {self.own:.3g} to {self.shifted:.3g}: its noise schedule is another one (correct the "
                "scheduler's config, or name the right one with --scheduler), or in training these files were resized otherwise",
            )


@torch.no_grad()
def check_loading(
    model: Model, denoiser: GivenDenoiser, members: Tensor, seed: int, conditions: Tensor | None = None,
    move: tuple[float, float] = (0.0, 1.0), images: bool = True,
) -> LoadingCheck:  # fmt: skip
    """Measure on members at eight steps, spread evenly: on 64, or 16 where the network is large.

    Args:
        model: with all access; nothing is counted.
        denoiser: its denoiser.
        members: (M, *item), as the model sees them.
        seed: of the noise.
        conditions: of the members, (M, *item), where the model is conditional.
        move: shift and scale of the members.
        images: whether they are images, which were read as values in [−1, 1].
    """
    levels, kind, latent = denoiser.levels, denoiser.checkpoint.prediction, denoiser.checkpoint.autoencoder is not None
    count = 64 if parameters_of(denoiser.network) < LARGE else 16
    rows_of = torch.randperm(len(members), generator=generator(seed, "loading check"))[:count]
    x = members[rows_of].to(model.device, torch.float64)
    if conditions is not None and (network := conditioned(denoiser)) is not None:
        network.current = conditions[rows_of]
    steps = np.unique(np.round(levels.steps * (np.arange(LEVELS) + 0.5) / LEVELS).astype(int).clip(0, levels.steps - 1))
    noise = torch.randn(DRAWS, *x.shape[1:], generator=generator(seed, "loading noise"), dtype=torch.float64).to(x)
    probe, reach = (
        _Probe(denoiser, noise),
        levels.steps / 4 * np.array(REACH),
    )
    errors: list[Tensor] = []
    losses: dict[str, list[float]] = {name: [] for name in ("linear", "reversed", "narrower", "wider")}
    types: dict[str, list[tuple[float, float]]] = {name: [] for name in TYPES}
    for step in steps.tolist():
        told = (step + reach).clip(0, levels.steps - 1)
        errors.append(torch.stack([probe.errors(x, step, float(one)) for one in told]))
        losses["linear"].append(probe.linear(x, step, kind))
        if x.dim() == 4 and x.shape[1] == 3 and not latent:
            losses["reversed"].append(probe.errors(x.flip(1), step, step).mean().item())
        if not latent:
            losses["narrower"].append(probe.errors((x + 1) / 2, step, step).mean().item())
            losses["wider"].append(probe.errors(2 * x - 1, step, step).mean().item())
        for name, value in probe.as_types(x, step).items() if kind in TYPES else ():
            types[name].append((value, probe.linear(x, step, name)))
    half = torch.arange(len(x)) % 2 == 0
    choice = [int(rows[:, half].mean(1).argmin()) for rows in errors]
    others = [rows[:, ~half].mean(1) for rows in errors]
    middle, moved = len(steps) // 2, reach[int(np.median(choice))]
    ratios = {name: sum(a for a, _ in pairs) / sum(b for _, b in pairs) for name, pairs in types.items() if pairs}
    return LoadingCheck(
        loss=torch.stack([rows[RIGHT].mean() for rows in errors]).mean().item(),
        linear=float(np.mean(losses["linear"])),
        types={name: ratios[name] for name in sorted(ratios, key=lambda name: name != kind)},
        own=float(np.mean([rows[RIGHT].item() for rows in others])),
        shifted=float(np.mean([rows[k].item() for rows, k in zip(others, choice, strict=True)])),
        told=(float((steps[middle] + moved).clip(0, levels.steps - 1)), float(steps[middle])),
        reversed_channels=float(np.mean(losses["reversed"])) if losses["reversed"] else None,
        rescaled={
            _option(shift, scale, images): float(np.mean(losses[name]))
            for name, shift, scale in (
                ("narrower", move[0] - move[1], 2 * move[1]),
                ("wider", move[0] + move[1] / 2, move[1] / 2),
            )
            if losses[name]
        },
    )


def _option(shift: float, scale: float, images: bool) -> str:
    """The option that gives samples this shift and scale."""
    if images:
        return f"--range={(-1 - shift) / scale:g},{(1 - shift) / scale:g}"
    return f"--normalisation={shift:.4g},{scale:.4g}"


class _Probe:
    """Errors of a network's answers, with the same noise for all samples."""

    def __init__(self, denoiser: GivenDenoiser, noise: Tensor) -> None:
        self._denoiser, self._alpha_bar, self._noise = denoiser, denoiser.levels.alpha_bar, noise

    def _states(self, x: Tensor, step: int, told: float) -> Iterator[tuple[Tensor, Tensor, Tensor, float, float]]:
        """State of the VP process, noise, the network's answer, α and σ, for each draw of the noise."""
        alpha, sigma = float(np.sqrt(self._alpha_bar[step])), float(np.sqrt(1 - self._alpha_bar[step]))
        table = self._denoiser.checkpoint
        size = float(np.hypot(table.alpha[step], table.sigma[step]))
        for noise in self._noise:
            u = alpha * x + sigma * noise
            answer = self._denoiser.answer(size * u, torch.tensor([told], dtype=torch.float64, device=x.device))
            yield u, noise.expand_as(x), answer, alpha, sigma

    def errors(self, x: Tensor, step: int, told: float) -> Tensor:
        """Mean square error of what the network predicts, for each sample, (B,)."""
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        kind = self._denoiser.checkpoint.prediction
        for u, noise, answer, alpha, sigma in self._states(x, step, told):
            if kind in TYPES:
                wrong = answer - _target(x, noise, alpha, sigma, kind)
            else:  # in units of ε
                a, b = self._denoiser.coefficients(*(torch.tensor([v]).to(x) for v in (alpha, sigma, self._size(step))))
                wrong = a * u + b * answer - noise
            total += wrong.flatten(1).square().mean(1)
        return total / len(self._noise)

    def as_types(self, x: Tensor, step: int) -> dict[str, float]:
        """The mean square error of the answers as predictions of each type."""
        errors: dict[str, list[Tensor]] = {kind: [] for kind in TYPES}
        for _, noise, answer, alpha, sigma in self._states(x, step, float(step)):
            for kind, values in errors.items():
                values.append((answer - _target(x, noise, alpha, sigma, kind)).square().mean())
        return {kind: torch.stack(values).mean().item() for kind, values in errors.items()}

    def linear(self, x: Tensor, step: int, kind: str) -> float:
        """The mean square error of the best prediction that is linear in the state, for data of this mean and variance."""
        alpha2, sigma2 = float(self._alpha_bar[step]), float(1 - self._alpha_bar[step])
        variance = x.var().item()
        total = alpha2 * variance + sigma2
        if kind == "sample":
            return variance * sigma2 / total
        if kind == "v_prediction":
            return sigma2 * variance + alpha2 - alpha2 * sigma2 * (1 - variance) ** 2 / total
        return alpha2 * variance / total

    def _size(self, step: int) -> float:
        table = self._denoiser.checkpoint
        return float(np.hypot(table.alpha[step], table.sigma[step]))


def _target(x: Tensor, noise: Tensor, alpha: float, sigma: float, kind: str) -> Tensor:
    """What a network of a type predicts."""
    if kind == "epsilon":
        return noise
    return x if kind == "sample" else alpha * noise - sigma * x
