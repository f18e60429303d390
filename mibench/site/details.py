"""What the dialogs show: the records of each cell without their ranks, and the ROC curves that follow from these."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.leaderboard.board import Board
from mibench.results.figures import AttackMetrics
from mibench.results.record import Record
from mibench.site.packing import columns, packed
from mibench.site.points import rounded

__all__ = ["CORNERS", "corners", "packed_details"]

CORNERS = 200
"""A curve has at most so many corners; of more, those are kept that lie evenly on a log axis of the FPR."""


def packed_details(board: Board) -> str:
    """The records of the cells that a page shows, see ``mibench.site.packing``.

    A record of the model at the end of training is there but for ranks and checksums, its figures to six digits; of checkpoints
    and controls, a few figures are.
    """
    content = {"records": columns([_final(*pair) for pair in _shown(board)]), "others": columns(_others(board))}
    return packed(json.dumps(content, separators=(",", ":"), allow_nan=False))


def _shown(board: Board) -> list[tuple[str, Record]]:
    """The records of this view with their paths, the cells in their order and in each the seeds."""
    rows = board.rows.sort_values(["dataset", "defense", "attack", "seed"], kind="stable")
    return list(zip(rows["path"], rows["record"], strict=True))


def _final(path: str, record: Record) -> dict[str, Any]:
    """A record with its path, and the steps from corner to corner of its ROC."""
    content = record.model_dump(mode="json", exclude={"digest": True, "attack": {"ranks", "scores"}})
    content["attack"] = content.get("attack") or None
    curve = {"roc": [np.diff(side, prepend=0).tolist() for side in corners(record.attack)]} if record.attack else {}
    return {"path": path, "record": _short(content), **curve}


def _short(value: Any) -> Any:
    """A value with each number in it to six digits."""
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return rounded(value) if isinstance(value, float) else value


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


def _others(board: Board) -> list[dict[str, Any]]:
    """Checkpoints and controls: the cell, its path, and the AUROC with its interval or the FD."""
    rows = board.frame.drop(index=board.rows.index)
    rows = rows.sort_values(["dataset", "defense", "attack", "model_kind", "checkpoint", "seed"], kind="stable")
    names = ["dataset", "defense", "attack", "model_kind", "checkpoint", "seed", "status", "path"]
    figures = ["calibrated_auroc", "calibrated_auroc_low", "calibrated_auroc_high", "fd"]
    return [
        {name: None if value != value else _short(value) for name, value in zip(names + figures, row, strict=True)}
        for row in rows[names + figures].itertuples(index=False, name=None)
    ]
