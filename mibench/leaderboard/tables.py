"""The tables on one dataset as data: privacy and utility, attacks, settings, checkpoints, controls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mibench.leaderboard.board import Board
from mibench.leaderboard.columns import Column, absent, build, figure, named, unfinished
from mibench.leaderboard.controls import Control
from mibench.leaderboard.frame import CHOICES
from mibench.leaderboard.main_columns import Row, main_columns
from mibench.leaderboard.summaries import matched
from mibench.leaderboard.text import MISSING, Code, Entry, Table, number, rate, rates

__all__ = [
    "attack_table",
    "attacks_by_defenses",
    "control_table",
    "curve_table",
    "main_table",
    "matched_table",
    "name_entry",
    "setting_table",
]

Cell = tuple[str, str, str]


def main_table(board: Board, dataset: str) -> Table:
    """Privacy and utility of each defense."""
    return build(main_columns(board, dataset), [Row(board, dataset, d) for d in board.defenses(dataset)])


def attack_table(board: Board, dataset: str) -> Table:
    """The calibrated AUROC of each attack on each defense."""

    def auroc(defense: str, attack: str) -> Entry:
        spread = board.spread("calibrated_auroc", dataset, defense, attack)
        return figure(board, (dataset, defense, attack), spread, rates)

    return attacks_by_defenses(board, dataset, Column(("attack",), partial(named, board, "attack")), auroc)


def attacks_by_defenses(board: Board, dataset: str, first: Column[str], entry: Callable[[str, str], Entry]) -> Table:
    """A table with a row per attack and a column per defense; ``entry`` gets the names of a defense and an attack."""
    columns = [Column(named(board, "defense", d), partial(entry, d)) for d in board.defenses(dataset)]
    return build([first, *columns], board.attacks(dataset))


def name_entry(name: str) -> Entry:
    """A name as an entry."""
    return (Code(name),)


def setting_table(board: Board, dataset: str) -> Table:
    """The AUROC of each attack at its three settings."""
    explanation = (
        "**Published**, **calibrated**, **oracle**: the setting of the attack's paper, the best on the calibration "
        "samples, and the best on the evaluation samples themselves. The oracle shows what hindsight would add."
    )

    def at(choice: str, cell: Cell) -> Entry:
        names = board.values(f"{choice}_setting")[cell]
        chosen = ", ".join(names if len(set(names)) > 1 else names[:1])
        return (*figure(board, cell, board.spread(f"{choice}_auroc", *cell), rates), f" at {chosen}")

    columns: list[Column[Cell]] = [
        Column(("defense",), lambda cell: (Code(cell[1]),)),
        Column(("attack",), lambda cell: (Code(cell[2]),)),
    ]
    for choice in CHOICES:
        header = f"{choice} (chosen with hindsight)" if choice == "oracle" else choice
        columns.append(Column((header,), partial(at, choice), explanation))
    cells = [(dataset, d, a) for d in board.defenses(dataset) for a in board.attacks(dataset)]
    return build(columns, [cell for cell in cells if cell in board.values("tier")])


def curve_table(board: Board, dataset: str) -> Table:
    """The worst known AUROC and the distance at each checkpoint."""

    def at(step: int, defense: str) -> Entry:
        points = {step: (distance, area) for step, distance, area in board.training_curve(dataset, defense)}
        return (f"{rate(points[step][1])} at {number(points[step][0])}" if step in points else MISSING,)

    columns = [Column(("defense",), name_entry)]
    columns += [Column((_when(s),), partial(at, s)) for s in board.checkpoints(dataset)]
    return build(columns, board.defenses(dataset))


def matched_table(board: Board, dataset: str) -> Table:
    """The worst known AUROC where each training first reaches the distances of the baseline's checkpoints."""

    def at(distance: float, area: float, defense: str) -> Entry:
        if defense != board.baseline:
            reached = matched(board.training_curve(dataset, defense), distance)
            return (rate(reached) if reached is not None else "does not get there",)
        return (rate(area),)

    columns = [Column(("defense",), name_entry)]
    for step, distance, area in board.training_curve(dataset, board.baseline):
        header = (f"{number(distance)} ({_when(step)})",)
        columns.append(Column(header, partial(at, distance, area)))
    return build(columns, board.defenses(dataset))


def _when(step: int) -> str:
    return f"step {step}" if step else "end"


Controlled = tuple[str, Control]

SIGNIFICANT: Column[Controlled] = Column(
    ("significant at a family-wise 1 %",),
    lambda found: (f"{found[1].significant} of {found[1].tested}" if found[1].tested else MISSING,),
    "**Significant**: how many of the AUROCs on fresh data differ from .5, by a rank-sum test at 1 % for all of the "
    "dataset's together (Bonferroni).",
)
SHUFFLED: Column[Controlled] = Column(
    ("labels shuffled (expect ≈ .5)",),
    lambda found: (rate(found[1].shuffled) if found[1].shuffled is not None else MISSING,),
    "**Labels shuffled**: the mean AUROC of the same scores with shuffled labels, which tests the statistic.",
)


def control_table(board: Board, dataset: str, found: dict[str, Control]) -> Table:
    """What the attacks reach where the right answer is known."""

    def on(kind: str, attack: str, area: float | None) -> Entry:
        cells = board.at(kind).outcomes.items()
        outcomes = [one for (of, _, name), several in cells if (of, name) == (dataset, attack) for one in several]
        return absent(outcomes) if area is None else (rate(area), *unfinished(outcomes))

    columns: list[Column[Controlled]] = [
        Column(
            ("attack",),
            lambda found: (Code(found[0]),),
            "**Controls** are runs whose answer is known. An attack that never looks at a model tests the split: on a "
            "clean one it stays at .5.",
        ),
        Column(
            ("exact model, least (expect ≈ 1)",),
            lambda found: on("exact", found[0], found[1].exact),
            "**Exact model**, the positive control: the optimal model of the members, which has memorised them. The "
            "least AUROC over defenses, first seed.",
        ),
        Column(
            ("fresh data, farthest from .5 (expect ≈ .5)",),
            lambda found: on("fresh", found[0], found[1].fresh),
            "**Fresh data**, the negative control: the optimal model of data that are neither members nor non-members. "
            "The AUROC farthest from .5 over defenses and seeds.",
        ),
        SIGNIFICANT,
        SHUFFLED,
    ]
    return build(columns, found.items())
