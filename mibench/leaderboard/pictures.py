"""Pictures and sounds of samples, from the stored ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.data import split
from mibench.errors import MibenchError
from mibench.results.record import Record, record_path
from mibench.results.store import Store

__all__ = ["draw", "draw_each"]

GRID = 64
"""Samples of a model that its grid shows."""

CLIPS, PAUSE = 8, 0.2
"""Samples of a model that are heard, and the seconds of silence after each."""


def draw(found: list[tuple[Dataset, Record]], store: Store, out: Path) -> list[Path]:
    """One picture per dataset: members, held-out data, and the samples of each defense, at the first record's seed.

    Args:
        found: records of samples, the end of a training after its checkpoints.
        store: holds the samples; what it does not hold is left out.
        out: a folder; made if it is not there.

    Returns:
        The files written.

    Raises:
        MibenchError: where no samples are in the store, or the folder cannot be written.
    """
    rows: dict[str, dict[str, Tensor]] = {}
    kinds: dict[str, str] = {}
    for dataset, record in found:
        if record.cell["seed"] != found[0][1].cell["seed"] or not store.has("samples", record.key):
            continue
        if dataset.label not in rows:
            data = split(dataset, record.cell["seed"])
            rows[dataset.label] = {"members": data.members, "held out": data.reference}
            kinds[dataset.label] = dataset.modality
        rows[dataset.label][record.labels["defense"]] = _samples(store, record)
    paths = []
    for label, panels in rows.items():
        path = out / f"samples-{''.join(c if c.isalnum() else '-' for c in label)}.png"
        figure = {"points": _points, "image": _images, "mel": _mels}[kinds[label]](panels)
        paths.append(_written(path, lambda path, figure=figure: _save(figure, path)))
        plt.close(figure)
    return _some(paths)


def draw_each(found: list[tuple[Dataset, Record]], store: Store, out: Path) -> list[Path]:
    """A grid of samples of each model and, of sounds, some to hear: ``<dataset>/<defense>/samples-s<seed>.png`` and ``.wav``.

    Arguments, answer and errors are as of ``draw``. A pixel of an image is a pixel of the grid, or several where images are
    small.
    """
    paths = []
    for dataset, record in found:
        if not store.has("samples", record.key):
            continue
        cell, samples = record.cell, _samples(store, record)
        name = record_path(
            record.labels | {"attack": "samples"}, cell["seed"], cell["model"], cell.get("checkpoint", 0)
        )
        path = (out / name).with_suffix(".png")
        if dataset.modality == "points":
            figure = _points({record.labels["defense"]: samples, "held out": split(dataset, cell["seed"]).reference})
            paths.append(_written(path, lambda path, figure=figure: _save(figure, path)))
            plt.close(figure)
            continue
        shown = samples[:GRID] if dataset.modality == "image" else _scaled(samples[:GRID].flip(2), samples[:GRID])
        paths.append(_written(path, lambda path, shown=shown: matplotlib.image.imsave(path, _grid(shown))))
        shift, scale = record.model.get("normalisation", (0.0, 1.0))
        if (heard := dataset.sound(samples[:CLIPS] * scale + shift)) is not None:
            waves = heard
            paths.append(_written(path.with_suffix(".wav"), lambda path, waves=waves: _play(path, *waves)))
    return _some(paths)


def _samples(store: Store, record: Record) -> Tensor:
    return store.load("samples", record.key)[0]["samples"]


def _some(paths: list[Path]) -> list[Path]:
    if not paths:
        raise MibenchError("no samples of these runs are in the store; run them here first")
    return paths


def _written(path: Path, write: Any) -> Path:
    """The path, after its file was written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise MibenchError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    return path


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _play(path: Path, waves: Tensor, rate: int) -> None:
    """Waves (B, L) in [−1, 1] one after the other, a wav of 16 bits."""
    from scipy.io import wavfile

    apart = torch.nn.functional.pad(waves, (0, round(PAUSE * rate))).flatten()
    wavfile.write(path, rate, (apart.clamp(-1, 1) * 32767).round().to(torch.int16).numpy())


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


def _scaled(x: Tensor, like: Tensor) -> Tensor:
    """Values scaled so that those of other samples are in [−1, 1]."""
    low, high = like.amin(), like.amax()
    return 2 * (x - low) / (high - low).clamp(min=1e-12) - 1


def _mels(panels: dict[str, Tensor]) -> Any:
    """Spectrograms as images, low bands at the bottom, in the range of the members."""
    return _images({name: _scaled(x.flip(2), panels["members"]) for name, x in panels.items()})


def _pixels(x: Tensor) -> Any:
    """Images (…, C, H, W) in [−1, 1] as (…, H, W, C) in [0, 1]."""
    return ((x.clamp(-1, 1) + 1) / 2).movedim(-3, -1).numpy()


def _images(panels: dict[str, Tensor]) -> Any:
    count = min(20, *(len(x) for x in panels.values()))
    figure, axes = plt.subplots(len(panels), count, figsize=(count * 0.5, len(panels) * 0.55), squeeze=False)
    for row, (name, x) in zip(axes, panels.items(), strict=True):
        for axis, pixels in zip(row, _pixels(x[:count]), strict=True):
            axis.imshow(pixels, cmap="gray" if pixels.shape[2] == 1 else None, vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.subplots_adjust(left=0.12, right=0.99, top=0.98, bottom=0.02, wspace=0.08, hspace=0.08)
    return figure


def _grid(x: Tensor) -> Any:
    """Images (B, 1 or 3, H, W) in [−1, 1] side by side, white between them, (height, width, 3) uint8."""
    count, times = len(x), max(1, 64 // max(x.shape[2:]))
    columns = math.ceil(math.sqrt(count))
    tiles = np.round(255 * np.broadcast_to(_pixels(x), (count, *x.shape[2:], 3))).astype(np.uint8)
    tiles = np.pad(
        tiles.repeat(times, 1).repeat(times, 2), ((0, -count % columns), (1, 1), (1, 1), (0, 0)), constant_values=255
    )
    _, height, width, _ = tiles.shape
    return tiles.reshape(-1, columns, height, width, 3).swapaxes(1, 2).reshape(-1, columns * width, 3)
