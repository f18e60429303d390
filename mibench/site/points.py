"""The rows of the plots: a point for each defense and checkpoint under each attacker, in its colour and shape."""

from __future__ import annotations

from typing import Any

from mibench.kinds import Tier
from mibench.leaderboard.board import Board
from mibench.leaderboard.front import Standing, standings
from mibench.leaderboard.text import numbers, rate, span
from mibench.site.styles import FEW, parts, styles
from mibench.site.text import address

__all__ = ["highlighted", "points", "rounded", "tradeoff_plot"]

Row = dict[str, Any]

SATURATED = 0.98
"""Where most AUROCs are larger, a linear axis says nothing."""


def highlighted(board: Board, dataset: str, tier: Tier) -> list[str]:
    """The defenses that crowded plots show: all where they are few, else the baseline and the Pareto front."""
    found = board.defenses(dataset)
    if len(found) <= FEW:
        return found
    front = [label for label, standing in standings(board, dataset, tier).items() if standing.on_front]
    return [label for label in dict.fromkeys([board.baseline, *front]) if label in found]


def points(board: Board, dataset: str, tier: Tier) -> list[Row]:
    """The rows of a dataset under an attacker, in the order of training."""
    defenses, names = board.defenses(dataset), board.display_names
    drawn, chosen, front = styles(defenses), highlighted(board, dataset, tier), standings(board, dataset, tier)
    rows = []
    for defense in defenses:
        base, measures = parts(defense)
        crowd = {"base": names.get(base, base), "measures": measures or "no measure"} if len(defenses) > FEW else {}
        style = {"colour": drawn[defense].colour, "shape": drawn[defense].shape, "few": defense in chosen, **crowd}
        for step in board.checkpoints(dataset):
            if row := _point(board.at(board.model_kind, step), dataset, defense, tier):
                rows.append(row | style | ({} if step else _front(front.get(defense))))
    return rows


def tradeoff_plot(rows: list[Row]) -> str:
    """The name of the plot that shows these rows best: with a logit axis where most defenses leak nearly everything."""
    areas = [row["area"] for row in rows if row["end"]]
    return "logit" if sum(area > SATURATED for area in areas) > len(areas) / 2 else "linear"


def _front(standing: Standing | None) -> Row:
    """Whether a defense is on the Pareto front, and whether it generates."""
    return {"front": standing.generates} if standing and standing.on_front else {}


def _point(board: Board, dataset: str, defense: str, tier: Tier) -> Row | None:
    """One defense at one checkpoint, None where it has no AUROC."""
    worst, distance, names = (
        board.worst(dataset, defense, tier),
        board.spread("fd", dataset, defense),
        board.display_names,
    )
    if not worst:
        return None
    area, (low, high), name = worst.auroc.mean, worst.interval, names.get(defense, defense)
    mean = distance.mean if distance and distance.mean > 0 else None
    sd = distance.sd if distance else None
    steps = board.spread("steps", dataset, defense, worst.attack)
    step = board.checkpoint or (steps.mean if steps else 0)
    tip = [name, f"AUROC {rate(area)} {span((low, high), rate)} ({names.get(worst.attack, worst.attack)})"]
    tip += [f"FD {numbers(distance)}"] if distance else []
    tip += [f"null {rate(worst.null)}"] if worst.null is not None else []
    tip += [f"after {step:.0f} steps"] if step else []
    return {
        "name": name,
        "cell_of": defense,
        "cell": address(dataset, defense, worst.attack, step=board.checkpoint),
        "end": not board.checkpoint,
        "order": board.checkpoint or 1e12,
        "step": step,
        **{key: rounded(value) for key, value in (("area", area), ("low", low), ("high", high), ("null", worst.null))},
        "fd": rounded(mean),
        "fd_low": rounded(max(mean / 10, mean - sd)) if mean and sd else None,
        "fd_high": rounded(mean + sd) if mean and sd else None,
        "tip": "\n".join(tip),
    }


def rounded(value: float | None) -> float | None:
    """Six significant digits, to save space."""
    return None if value is None else float(f"{value:.6g}")
