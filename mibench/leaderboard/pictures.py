"""Pictures of samples, from the stored ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from torch import Tensor

from mibench.data import split
from mibench.errors import MibenchError
from mibench.harness.plan import Plan
from mibench.harness.records import read_record

__all__ = ["draw"]


def draw(plan: Plan, out: Path) -> list[Path]:
    """One picture per dataset: members, held-out data, and the samples of each defense, first seed.

    Raises:
        MibenchError: where no samples are in the store, or the folder cannot be written.
    """
    rows: dict[str, dict[str, Tensor]] = {}
    kinds: dict[str, str] = {}
    for cell in plan.cells:
        if cell.attack is not None or cell.seed != plan.cells[0].seed or not plan.path(cell).exists():
            continue
        key = read_record(plan.path(cell)).key
        if not plan.store.has("samples", key):
            continue
        if cell.dataset.label not in rows:
            data = split(cell.dataset, cell.seed)
            rows[cell.dataset.label] = {"members": data.members, "held out": data.reference}
            kinds[cell.dataset.label] = cell.dataset.modality
        rows[cell.dataset.label][cell.defense.label] = plan.store.load("samples", key)[0]["samples"]
    if not rows:
        raise MibenchError("no samples of this suite are in the store; run the suite here first")
    paths = []
    for dataset, panels in rows.items():
        path = out / f"samples-{''.join(c if c.isalnum() else '-' for c in dataset)}.png"
        figure = {"points": _points, "image": _images, "mel": _mels}[kinds[dataset]](panels)
        try:
            out.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=110, metadata={"Software": None})
        except OSError as error:
            raise MibenchError(f"cannot write {path}: {error.strerror}; choose another --out") from None
        plt.close(figure)
        paths.append(path)
    return paths


def _points(panels: dict[str, Tensor]) -> Any:
    figure, axes = plt.subplots(2, -(-len(panels) // 2), figsize=(11, 6), sharex=True, sharey=True, squeeze=False)
    limit = 1.15 * panels["held out"].abs().max().item()
    for axis, (name, x) in zip(axes.flat, panels.items(), strict=False):
        axis.scatter(*x[:1000].T, s=3, alpha=0.5, color="0.3" if name in ("members", "held out") else "C0")
        axis.set(title=name, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    figure.tight_layout()
    return figure


def _mels(panels: dict[str, Tensor]) -> Any:
    """Spectrograms as images, low bands at the bottom."""
    return _images({name: x.flip(2) for name, x in panels.items()})


def _images(panels: dict[str, Tensor]) -> Any:
    count = min(20, *(len(x) for x in panels.values()))
    figure, axes = plt.subplots(len(panels), count, figsize=(count * 0.5, len(panels) * 0.55), squeeze=False)
    for row, (name, x) in zip(axes, panels.items(), strict=True):
        for axis, image in zip(row, x[:count], strict=True):
            pixels = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
            axis.imshow(pixels, cmap="gray" if pixels.shape[2] == 1 else None, vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.subplots_adjust(left=0.12, right=0.99, top=0.98, bottom=0.02, wspace=0.08, hspace=0.08)
    return figure
