"""What the models of a board generate, as far as a store holds it: pictures and sounds as data URIs."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from mibench.components import Dataset
from mibench.data import split
from mibench.leaderboard.board import Board
from mibench.results.folder import UTILITY
from mibench.results.record import Record
from mibench.results.store import Store

__all__ = ["media_of"]

PLAIN: dict[str, Any] = {"Software": None}
"""Without the version of matplotlib."""

SHOWN, CLIPS = 16, 2
"""Samples in a picture, and in a sound."""


def media_of(board: Board, store: Store) -> dict[str, list[dict[str, str]]]:
    """By dataset the members and the samples of each defense at its first seed in the store: name, image, sound."""
    return {dataset: list(_of_dataset(board, store, dataset)) for dataset in board.datasets()}


def _of_dataset(board: Board, store: Store, label: str) -> Iterator[dict[str, str]]:
    dataset = board.selection.known.component("dataset", label)
    if not isinstance(dataset, Dataset):
        return
    records = board.values("record")
    found = [
        (defense, record)
        for defense in board.defenses(label)
        for record in records.get((label, defense, UTILITY), ())[:1]
        if store.has("samples", record.key)
    ]
    if not found:
        return
    data = split(dataset, found[0][1].cell.seed)
    yield _shown(dataset, "members", data.members[:SHOWN], data.reference, found[0][1])
    for defense, record in found:
        samples = store.load("samples", record.key)[0]["samples"][: 64 * SHOWN]
        yield _shown(dataset, defense, samples, data.reference, record)


def _shown(dataset: Dataset, name: str, samples: Tensor, real: Tensor, record: Record) -> dict[str, str]:
    shift, scale = record.model.normalisation or (0.0, 1.0)
    sound = dataset.sound(samples[:CLIPS] * scale + shift)
    return {
        "name": name,
        "image": _uri("image/png", _picture(dataset, name, samples, real)),
        "sound": _uri("audio/wav", _wav(*sound)) if sound else "",
    }


def _picture(dataset: Dataset, name: str, samples: Tensor, real: Tensor) -> bytes:
    """A grid of samples, or where the modality has none its figure beside real data."""
    content = io.BytesIO()
    if (pixels := dataset.modality.grid(samples[:SHOWN])) is not None:
        from matplotlib.image import imsave

        imsave(content, pixels, format="png", metadata=PLAIN)
    else:
        figure = dataset.modality.figure({name: samples, "held out": real[: len(samples)]})
        figure.savefig(content, format="png", dpi=60, metadata=PLAIN)
    return content.getvalue()


def _wav(waves: Tensor, rate: int) -> bytes:
    """Waves (B, L) in [−1, 1] one after the other, 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((waves.flatten().clamp(-1, 1) * 32767).round().short().numpy().astype("<i2").tobytes())
    return content.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
