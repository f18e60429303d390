"""Pictures of numbers, drawn with matplotlib; they need no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mibench.errors import MibenchError
from mibench.leaderboard.board import Board
from mibench.leaderboard.front import standings
from mibench.leaderboard.summaries import Spread

__all__ = ["plot_bound", "plot_tradeoff", "plot_training"]

MARKERS = "osD^vP*X<>"
"""A shape for each defense, since colours repeat and not everyone tells them apart."""

COLOURS = 10
"""As many as matplotlib goes through; the shapes must not repeat with them."""

INSIDE = 10
"""A legend of more lines stands beside the panels."""


def plot_bound(
    curves: dict[str, list[tuple[float, float, float, float]]], alpha: float, delta: float, path: Path
) -> None:
    """Δf_t, the Rényi divergence and ε over t, one line per defense."""
    titles = ("Δf_t", f"D_α, α = {alpha:g} (nats)", f"ε at δ = {delta:g}")
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for column, (axis, title) in enumerate(zip(axes, titles, strict=True), start=1):
        for label, rows in curves.items():
            axis.loglog([row[0] for row in rows], [row[column] or float("nan") for row in rows], label=label)
        axis.set(title=title, xlabel="t")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def plot_training(board: Board, path: Path) -> None:
    """The worst known AUROC with its interval, and its null, against the distance along each training, a line per defense.

    Raises:
        MibenchError: where the picture cannot be written.
    """
    figure, axes = _panels(board)
    for axis, dataset in zip(axes, board.datasets(), strict=True):
        for k, defense in enumerate(board.defenses(dataset)):
            steps = [board.at(board.model_kind, step) for step in board.checkpoints(dataset)]
            points = [point for view in steps if (point := _point(view, dataset, defense))]
            if points:
                distances, areas = [point.distance.mean for point in points], [point.area for point in points]
                limits = list(zip(*(point.limits for point in points), strict=True))
                colour, marker = f"C{k % COLOURS}", MARKERS[k // COLOURS % len(MARKERS)]
                style = {"color": colour, "marker": marker, "markersize": 4}
                axis.errorbar(distances, areas, limits, elinewidth=1, capsize=2, label=defense, **style)
                axis.plot(distances[-1:], areas[-1:], marker="s", markersize=8, color=colour)
                axis.plot(distances, [point.null for point in points], linestyle=":", color=colour)
        axis.set(xlabel="FD of the samples (square: end of training; dotted: null)")
    _write(figure, path)


def plot_tradeoff(board: Board, path: Path) -> None:
    """The worst known AUROC with its interval, and its null, against the distance ± sd, at the end of training.

    A line runs through the Pareto front, dotted where samples are nearer to a Gaussian's distance than to that of copies.

    Raises:
        MibenchError: where the picture cannot be written.
    """
    figure, axes = _panels(board)
    for axis, dataset in zip(axes, board.datasets(), strict=True):
        for k, defense in enumerate(board.defenses(dataset)):
            if point := _point(board, dataset, defense):
                mean, sd, limits = point.distance.mean, point.distance.sd or 0, [[side] for side in point.limits]
                colour, marker = f"C{k % COLOURS}", MARKERS[(k + k // COLOURS) % len(MARKERS)]
                style = {"color": colour, "marker": marker, "markersize": 7, "linestyle": ""}
                axis.errorbar(mean, point.area, limits, sd, elinewidth=1, capsize=2, label=defense, **style)
                axis.plot(mean, point.null, fillstyle="none", **style)
        front = sorted((s for s in standings(board, dataset).values() if s.on_front), key=lambda s: s.distance)
        for line, part in (("-", [s for s in front if s.generates]), (":", front)):
            axis.plot([s.distance for s in part], [s.auroc for s in part], line, color="0.6", linewidth=1, zorder=0)
        axis.set_xlabel("FD of the samples (lower left is better; line: Pareto front; hollow: null)")
        axis.set_ylim(min(0.4, axis.get_ylim()[0]), 1.03)
    _write(figure, path)


class Point(NamedTuple):
    """A defense in a picture; the limits are distances from the AUROC down and up, the null is NaN where there is none."""

    distance: Spread
    area: float
    limits: tuple[float, float]
    null: float


def _point(board: Board, dataset: str, defense: str) -> Point | None:
    """Distance and worst known AUROC of a defense, None where either is missing."""
    worst, distance = board.worst(dataset, defense), board.spread("fd", dataset, defense)
    if not worst or not distance:
        return None
    mean, (low, high) = worst.auroc.mean, worst.interval
    null = math.nan if worst.null is None else worst.null
    return Point(distance, mean, (max(0, mean - low), max(0, high - mean)), null)


def _panels(board: Board) -> tuple[Any, Any]:
    """A figure with an empty panel for each dataset, the AUROC upwards, and its panels."""
    datasets = board.datasets()
    figure, axes = plt.subplots(1, len(datasets), figsize=(5.5 * len(datasets), 4), squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        axis.axhline(0.5, color="0.7", linewidth=1)
        title = dataset if len(dataset) <= 40 else dataset[:39] + "…"
        axis.set(title=title, ylabel="worst known AUROC")
    return figure, axes[0]


def _write(figure: Any, path: Path) -> None:
    shown = [dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True)) for axis in figure.axes]
    many, beside = {label: line for lines in shown for label, line in lines.items()}, []
    if len(many) > INSIDE:
        beside = [figure.legend(many.values(), many, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))]
    else:
        for axis in (axis for axis, lines in zip(figure.axes, shown, strict=True) if lines):
            axis.legend(fontsize=8)
    figure.tight_layout()
    try:
        size = {"bbox_extra_artists": beside, "bbox_inches": "tight"} if beside else {}
        figure.savefig(path, dpi=110, metadata={"Software": None}, **size)
    except OSError as error:
        raise MibenchError(f"cannot write {path}: {error.strerror}") from None
    finally:
        plt.close(figure)
