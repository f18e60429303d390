"""What the dialogs show: the records of each cell without their ranks, and the ROC curves that follow from these."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.leaderboard.board import Board
from mibench.results.figures import AttackMetrics
from mibench.results.record import Record
from mibench.site.points import rounded

__all__ = ["CORNERS", "corners", "packed_details", "unpacked_details"]

CORNERS = 200
"""A curve has at most so many corners; of more, those are kept that lie evenly on a log axis of the FPR."""


def packed_details(board: Board) -> str:
    """The records of the cells that a page shows, compressed with zlib, in base64.

    A record of the model at the end of training is there in full but for the ranks; of checkpoints and controls, a few
    figures are.
    """
    content = {"records": [_final(board, *pair) for pair in _shown(board)], "others": _others(board)}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked_details(text: str) -> dict[str, Any]:
    """What ``packed_details`` has packed."""
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return content


def _shown(board: Board) -> list[tuple[str, Record]]:
    """The records of this view with their paths, the cells in their order and in each the seeds."""
    rows = board.rows.sort_values(["dataset", "defense", "attack", "seed"], kind="stable")
    return list(zip(rows["path"], rows["record"], strict=True))


def _final(board: Board, path: str, record: Record) -> dict[str, Any]:
    content = record.model_dump(mode="json", exclude={"attack": {"ranks"}})
    content["attack"] = content.get("attack") or None
    found: dict[str, Any] = {"path": path, "record": content}
    if record.attack:
        found["roc"] = corners(record.attack)
    return found


def corners(metrics: AttackMetrics) -> tuple[list[int], list[int]]:
    """The corners of a ROC curve: non-members and members above each threshold, from none to all, at most ``CORNERS``."""
    members, nonmembers = metrics.ranked()
    thresholds = np.unique(np.concatenate([members, nonmembers]))[::-1]
    hits, alarms = (_above(side, thresholds) for side in (members, nonmembers))
    turns = np.ones(len(hits), dtype=bool)  # the ends, and where the direction changes
    rise, run = np.diff(hits), np.diff(alarms)
    turns[1:-1] = rise[1:] * run[:-1] != rise[:-1] * run[1:]
    hits, alarms = hits[turns], alarms[turns]
    if len(hits) > CORNERS:
        wanted = np.geomspace(1, alarms[-1] + 1, CORNERS) - 1
        kept = np.unique(np.append(np.searchsorted(alarms, wanted, "right") - 1, len(alarms) - 1))
        hits, alarms = hits[kept], alarms[kept]
    return alarms.tolist(), hits.tolist()


def _above(ranks: NDArray[np.int64], thresholds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many ranks are at or above each threshold, none first."""
    counts = len(ranks) - np.searchsorted(np.sort(ranks), thresholds, "left")
    return np.concatenate([[0], counts])


def _others(board: Board) -> list[list[Any]]:
    """Checkpoints and controls: dataset, defense, attack, kind of model, checkpoint, seed, AUROC with its interval or the FD."""
    rows = board.frame.drop(index=board.rows.index)
    rows = rows.sort_values(["dataset", "defense", "attack", "model_kind", "checkpoint", "seed"], kind="stable")
    names = ["dataset", "defense", "attack", "model_kind", "checkpoint", "seed"]
    figures = ["calibrated_auroc", "calibrated_auroc_low", "calibrated_auroc_high", "fd"]
    return [
        [
            *row[: len(names)],
            row[len(names)],
            *(None if value != value else rounded(value) for value in row[len(names) + 1 :]),
        ]
        for row in rows[[*names, "status", *figures]].itertuples(index=False, name=None)
    ]
