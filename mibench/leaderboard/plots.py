"""Plots of numbers; they need no torch."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mibench.errors import MibenchError
from mibench.leaderboard.tables import Board

__all__ = ["plot_bound", "plot_training"]


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
    """The largest AUROC of the attacks against the distance along each training, one line per defense.

    Raises:
        MibenchError: where the picture cannot be written.
    """
    datasets = board.datasets()
    figure, axes = plt.subplots(1, len(datasets), figsize=(5.5 * len(datasets), 4), squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        for defense in board.defenses(dataset):
            if points := board.path(dataset, defense):
                _, distances, areas = zip(*points, strict=True)
                (line,) = axis.plot(distances, areas, marker="o", markersize=4, label=defense)
                axis.plot(distances[-1:], areas[-1:], marker="s", markersize=8, color=line.get_color())
        axis.axhline(0.5, color="0.7", linewidth=1)
        axis.set(title=dataset, xlabel="FD of the samples (square: end of training)", ylabel="worst known AUROC")
        axis.legend(fontsize=8)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=110, metadata={"Software": None})
    except OSError as error:
        raise MibenchError(f"cannot write {path}: {error.strerror}") from None
    plt.close(figure)
