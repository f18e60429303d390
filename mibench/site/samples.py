"""What the models of a board generate, as far as a store holds it: pictures and sounds as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from mibench.components import Dataset
from mibench.data import split
from mibench.leaderboard.board import Board
from mibench.leaderboard.pictures import wav
from mibench.results.folder import UTILITY
from mibench.results.record import Record
from mibench.results.store import Store

__all__ = ["media_of"]

PLAIN: dict[str, Any] = {"Software": None}
"""Without the version of matplotlib."""

SHOWN, CLIPS = 16, 2
"""Samples in a grid, and in a sound."""

POINTS, PANELS = 1000, 7
"""Samples of each set in a figure, and sets in a figure beside the held-out data."""

Medium = dict[str, Any]
"""A picture: ``name``; ``image`` and ``sound`` as data URIs, "" for no sound; ``wide``, whether it takes the whole width."""


def media_of(board: Board, store: Store) -> dict[str, list[Medium]]:
    """By dataset the members and the samples of each defense, at its first seed in the store."""
    return {dataset: list(_of_dataset(board, store, dataset)) for dataset in board.datasets()}


def _of_dataset(board: Board, store: Store, label: str) -> Iterator[Medium]:
    dataset, records = board.selection.known.component("dataset", label), board.values("record")
    if not isinstance(dataset, Dataset):
        return
    found = {
        board.display_names.get(defense, defense): record
        for defense in board.defenses(label)
        for record in records.get((label, defense, UTILITY), ())[:1]
        if store.has("samples", record.key)
    }
    if not found:
        return
    first = next(iter(found.values()))
    data = split(dataset, first.cell.seed)
    sets = {name: store.load("samples", record.key)[0]["samples"][:POINTS] for name, record in found.items()}
    sets = {"members": data.members, **sets}
    if dataset.modality.grid(data.members[:1]) is None:
        yield from _figures(dataset, sets, data.reference)
    else:
        for name, samples in sets.items():
            yield _grid(dataset, name, samples, found.get(name, first))


def _figures(dataset: Dataset, sets: dict[str, Tensor], real: Tensor) -> Iterator[Medium]:
    """Sets beside each other, a few in a figure, each time with held-out data."""
    for k in range(0, len(sets), PANELS):
        names = list(sets)[k : k + PANELS]
        content = io.BytesIO()
        figure = dataset.modality.figure({**{name: sets[name] for name in names}, "held out": real[:POINTS]})
        figure.savefig(content, format="png", dpi=80, metadata=PLAIN)
        yield {"name": ", ".join(names), "image": _uri("image/png", content.getvalue()), "sound": "", "wide": True}


def _grid(dataset: Dataset, name: str, samples: Tensor, record: Record) -> Medium:
    """Some samples in one picture, and where the dataset knows how, some to be heard."""
    from matplotlib.image import imsave

    content = io.BytesIO()
    pixels: Any = dataset.modality.grid(samples[:SHOWN])
    imsave(content, pixels, format="png", metadata=PLAIN)
    shift, scale = record.model.normalisation or (0.0, 1.0)
    sound = dataset.sound(samples[:CLIPS] * scale + shift)
    heard = _uri("audio/wav", wav(*sound)) if sound else ""
    return {"name": name, "image": _uri("image/png", content.getvalue()), "sound": heard, "wide": False}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
