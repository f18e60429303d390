"""Pictures and sounds of stored samples."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.data import completed_split, split
from mibench.errors import MibenchError, UsageError
from mibench.results.record import Record, record_path
from mibench.results.store import Store

__all__ = ["draw", "draw_each", "wav"]

GRID = 64
"""Samples of a model that its grid shows."""

CLIPS, PAUSE = 8, 0.2
"""Samples of a model in its sound file, and the seconds of silence after each."""


def draw(found: list[tuple[Dataset, Record]], store: Store, out: Path) -> list[Path]:
    """One picture per dataset: members, held-out data, and the samples of each defense, at the first record's seed.

    Args:
        found: records of samples, the end of a training after its checkpoints.
        store: holds the samples; records whose samples it lacks are left out.
        out: a folder; made if it does not exist.

    Returns:
        The files written.

    Raises:
        MibenchError: where the store has none of the samples, or the folder cannot be written.
    """
    panels: dict[str, dict[str, Tensor]] = {}
    datasets: dict[str, Dataset] = {}
    for dataset, record in found:
        if record.cell.seed != found[0][1].cell.seed or not store.has("samples", record.key):
            continue
        if dataset.label not in panels:
            data = completed_split(dataset, split(dataset, record.cell.seed))
            panels[dataset.label] = {"members": data.members, "held out": data.reference}
            datasets[dataset.label] = dataset
        panels[dataset.label][record.labels["defense"]] = _samples(store, record)
    paths = []
    for label, sets in panels.items():
        path = out / f"samples-{''.join(c if c.isalnum() else '-' for c in label)}.png"
        paths.append(_written(path, partial(_draw_figure, datasets[label], sets)))
    return _some(paths, store)


def draw_each(found: list[tuple[Dataset, Record]], store: Store, out: Path) -> list[Path]:
    """One picture of the samples of each model, and of sounds a wav: ``<dataset>/<defense>/samples-s<seed>.png``, ``.wav``.

    Arguments, answer and errors are as of ``draw``.
    """
    paths = []
    for dataset, record in found:
        if not store.has("samples", record.key):
            continue
        cell, samples = record.cell, _samples(store, record)
        name = record_path(record.labels | {"attack": "samples"}, cell.seed, cell.model, cell.checkpoint)
        path = (out / name).with_suffix(".png")
        if (pixels := dataset.modality.grid(samples[:GRID])) is not None:
            from matplotlib.image import imsave

            paths.append(_written(path, partial(imsave, arr=pixels)))
        else:
            sets = {
                record.labels["defense"]: samples,
                "held out": completed_split(dataset, split(dataset, cell.seed)).reference,
            }
            paths.append(_written(path, partial(_draw_figure, dataset, sets)))
        shift, scale = record.model.normalisation or (0.0, 1.0)
        if (sound := dataset.sound(samples[:CLIPS] * scale + shift)) is not None:
            paths.append(_written(path.with_suffix(".wav"), partial(Path.write_bytes, data=wav(*sound))))
    return _some(paths, store)


def _samples(store: Store, record: Record) -> Tensor:
    return store.load("samples", record.key)[0]["samples"]


def _some(paths: list[Path], store: Store) -> list[Path]:
    if not paths:
        raise MibenchError(
            f"the store {store.root} holds no samples of these runs; run them first, or choose another --store"
        )
    return paths


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    """The path, after its file was written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    return path


def _draw_figure(dataset: Dataset, sets: dict[str, Tensor], path: Path) -> None:
    dataset.modality.figure(sets).savefig(path, dpi=110, metadata={"Software": None})


def wav(waves: Tensor, rate: int) -> bytes:
    """A wav of 16 bits with waves (B, L) in [−1, 1] at a rate in Hz, each with silence after it."""
    apart = torch.nn.functional.pad(waves.clamp(-1, 1), (0, round(PAUSE * rate))).flatten()
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))  # one channel, two bytes
        file.writeframes((apart * 32767).round().numpy().astype("<i2").tobytes())
    return content.getvalue()
