"""The colour and the shape of each defense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mibench.names import split_plus

__all__ = ["FEW", "Style", "parts", "styles"]

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
    found = {label: parts(label) for label in labels}
    bases = list(dict.fromkeys(base for base, _ in found.values()))
    kinds = list(dict.fromkeys(measures for _, measures in found.values()))
    drawn = {}
    for label, (base, measures) in found.items():
        again, colour = divmod(bases.index(base), FEW)  # where colours repeat, shapes must not
        drawn[label] = Style(COLOURS[colour], SHAPES[(kinds.index(measures) + again * len(kinds)) % len(SHAPES)])
    return drawn


def parts(label: str) -> tuple[str, str]:
    """The base of a defense with its options, and the names of its measures without theirs, "" for none."""
    base, *measures = split_plus(label)
    return base, " + ".join(part.partition(":")[0] for part in measures)
