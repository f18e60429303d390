"""The rows of the plots: a point for each defense and checkpoint under each attacker, in its colour and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mibench.kinds import Tier
from mibench.leaderboard.board import Board
from mibench.leaderboard.front import standings
from mibench.leaderboard.text import numbers, rate, span
from mibench.names import split_plus
from mibench.site.text import address

__all__ = ["Style", "highlighted", "points", "rounded", "styles"]

COLOURS = (
    "#2f6fd0",
    "#d0602b",
    "#2b9a5b",
    "#9a55c9",
    "#c43b5b",
    "#8f7320",
    "#1690a6",
    "#cf4f9e",
    "#6d7d2e",
    "#7c6bdc",
)
"""Each stands out from a white and from a dark ground by 3:1 or more."""

SHAPES = (
    "M-1,0A1,1,0,1,0,1,0A1,1,0,1,0,-1,0Z",
    "M-.9,-.9L.9,-.9L.9,.9L-.9,.9Z",
    "M0,-1.1L1.1,.9L-1.1,.9Z",
    "M0,-1.2L1.2,0L0,1.2L-1.2,0Z",
    "M0,1.1L1.1,-.9L-1.1,-.9Z",
    "M-.35,-1L.35,-1L.35,-.35L1,-.35L1,.35L.35,.35L.35,1L-.35,1L-.35,.35L-1,.35L-1,-.35L-.35,-.35Z",
    "M1.1,0L-.9,1.1L-.9,-1.1Z",
    "M-1.1,0L.9,1.1L.9,-1.1Z",
    "M0,-1.2L.3,-.4L1.15,-.37L.48,.15L.7,.97L0,.5L-.7,.97L-.48,.15L-1.15,-.37L-.3,-.4Z",
    "M-.9,-.9L.9,-.9L-.9,.9L.9,.9Z",
    "M-.9,-.9L-.9,.9L.9,-.9L.9,.9Z",
    "M0,-1.1L.95,-.55L.95,.55L0,1.1L-.95,.55L-.95,-.55Z",
    "M-1,-.4L1,-.4L1,.4L-1,.4Z",
    "M-.4,-1L.4,-1L.4,1L-.4,1Z",
)
"""Paths in a square from −1 to 1, as Vega and SVG take them."""

FEW = len(COLOURS)
"""Of so many defenses each has a colour and a shape of its own, and all are in every plot."""


@dataclass(frozen=True)
class Style:
    """How a defense is drawn."""

    colour: str
    shape: str


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """A colour and a shape for each defense. Of many, those with one base share a colour, those with one measure a shape."""
    if len(labels) <= FEW:
        return {label: Style(COLOURS[k], SHAPES[k]) for k, label in enumerate(labels)}
    parts = {label: split_plus(label) for label in labels}
    bases = list(dict.fromkeys(first for first, *_ in parts.values()))
    kinds = list(dict.fromkeys(_measures(part) for part in parts.values()))
    return {
        label: Style(COLOURS[bases.index(part[0]) % FEW], SHAPES[kinds.index(_measures(part)) % len(SHAPES)])
        for label, part in parts.items()
    }


def _measures(parts: list[str]) -> str:
    return "+".join(part.partition(":")[0] for part in parts[1:])


def highlighted(board: Board, dataset: str, tier: Tier) -> list[str]:
    """The defenses that crowded plots show: all where they are few, else the baseline and the Pareto front."""
    found = board.defenses(dataset)
    if len(found) <= FEW:
        return found
    front = [label for label, standing in standings(board, dataset, tier).items() if standing.on_front]
    return [label for label in dict.fromkeys([board.baseline, *front]) if label in found][:FEW]


def points(
    board: Board, dataset: str, tier: Tier, drawn: dict[str, Style], names: dict[str, str]
) -> list[dict[str, Any]]:
    """The rows of a dataset under an attacker, in the order of training."""
    chosen = highlighted(board, dataset, tier)
    return [
        row
        for defense in board.defenses(dataset)
        for step in board.checkpoints(dataset)
        if (row := _point(board.at(board.model_kind, step), dataset, defense, tier, names))
        for _ in [row.update(colour=drawn[defense].colour, shape=drawn[defense].shape, few=defense in chosen)]
    ]


def _point(board: Board, dataset: str, defense: str, tier: Tier, names: dict[str, str]) -> dict[str, Any] | None:
    """One defense at one checkpoint, None where it has no AUROC."""
    worst, distance = board.worst(dataset, defense, tier), board.spread("fd", dataset, defense)
    if not worst:
        return None
    area, (low, high), name = worst.auroc.mean, worst.interval, names.get(defense, defense)
    mean = distance.mean if distance and distance.mean > 0 else None
    sd = distance.sd if distance else None
    steps = board.spread("steps", dataset, defense, worst.attack)
    step = board.checkpoint or (steps.mean if steps else 0)
    tip = [name, f"AUROC {rate(area)} {span((low, high), rate)} ({names.get(worst.attack, worst.attack)})"]
    tip += [f"FD {numbers(distance)}"] if distance else []
    tip += [f"null {rate(worst.null)}"] if worst.null is not None else []
    tip += [f"after {step:.0f} steps"] if step else []
    return {
        "name": name,
        "cell_of": defense,
        "cell": address(dataset, defense, worst.attack),
        "end": not board.checkpoint,
        "order": board.checkpoint or 1e12,
        "step": step,
        **{key: rounded(value) for key, value in (("area", area), ("low", low), ("high", high), ("null", worst.null))},
        "fd": rounded(mean),
        "fd_low": rounded(max(mean / 10, mean - sd)) if mean and sd else None,
        "fd_high": rounded(mean + sd) if mean and sd else None,
        "tip": "\n".join(tip),
    }


def rounded(value: float | None) -> float | None:
    """Six significant digits, to save space."""
    return None if value is None else float(f"{value:.6g}")
