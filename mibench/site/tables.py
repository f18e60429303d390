"""The tables of one dataset on a page: defenses under each attacker, attacks against defenses, all cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from mibench.kinds import Tier
from mibench.leaderboard.board import TIERS, Board
from mibench.leaderboard.columns import Column, absent, build, figure, missing_seeds
from mibench.leaderboard.main_columns import DOMINATED_BY, tier_columns
from mibench.leaderboard.main_columns import Row as DefenseRow
from mibench.leaderboard.summaries import Spread, mean_interval
from mibench.leaderboard.text import MISSING, Code, Entry, rate, rates, span
from mibench.results.folder import UTILITY
from mibench.site.styles import Style
from mibench.site.text import Cell, Shown, Writer, address

__all__ = ["Heat", "cell_table", "defense_table", "heat_table", "rank"]

ATTACK = 3
"""The place of the worst known attack among ``tier_columns``."""


@dataclass(frozen=True)
class Heat:
    """A cell of the heatmap.

    Attributes:
        html: its AUROC, or why there is none.
        href: the address of its records.
        share: how far the AUROC is from .5 to 1; None without one.
        rank: of the attack, see ``rank``.
    """

    html: Markup
    href: str
    share: float | None
    rank: int


def rank(board: Board, dataset: str, attack: str) -> int:
    """The place of an attack's tier in ``TIERS``; −1 where it looks at the data alone, or has not been run."""
    found = [tiers[0] for (of, _, name), tiers in board.values("tier").items() if (of, name) == (dataset, attack)]
    return TIERS.index(found[0]) if found and found[0] in TIERS else -1


def glyph(style: Style) -> Markup:
    """The mark of a defense in the plots."""
    path = '<svg class="glyph" viewBox="-1.3 -1.3 2.6 2.6" aria-hidden="true"><path d="{}" fill="{}"/></svg>'
    return Markup(path).format(style.shape, style.colour)


def defense_table(board: Board, dataset: str, tier: Tier, writer: Writer, drawn: dict[str, Style]) -> Shown:
    """Privacy and utility of each defense under an attacker, with links to its worst known attack."""
    rows = [DefenseRow(board, dataset, defense, tier) for defense in board.defenses(dataset)]
    table = build(tier_columns(board, dataset, tier), rows)
    shown = writer.table(f"Defenses on {dataset}", table)
    for line, entries, row in zip(shown.rows, table.rows, rows, strict=True):
        attack = row.worst.attack if row.worst else UTILITY
        href = address(dataset, row.defense, attack)
        link = Markup('{}&nbsp;<a href="{}">{}</a>{}')
        line[0] = Cell(
            link.format(glyph(drawn[row.defense]), href, writer.name(row.defense), writer.html(entries[0][1:]))
        )
        for k, head in enumerate(table.header):
            if head == DOMINATED_BY:
                line[k] = Cell(line[k].html, _dominators(entries[k]))
        if row.worst:
            name, rest = writer.name(attack), writer.html(entries[ATTACK][1:])
            line[ATTACK] = Cell(Markup('<a href="{}">{}</a>{}').format(href, name, rest))
    return shown


def _dominators(entry: Entry) -> str | None:
    """How many defenses an entry of the column "dominated by" counts, to sort by; None where it could not be told."""
    first, *rest = entry
    if isinstance(first, Code):
        return str(1 + sum(int(digits) for text in rest for digits in re.findall(r"\d+", text)))
    return "0" if first.startswith("none") else None


def heat_table(
    board: Board, dataset: str, writer: Writer
) -> tuple[list[tuple[Markup, int]], list[tuple[Markup, int, list[Heat]]]]:
    """The calibrated AUROC of each attack on each defense: header and rows, of which the longer list has the rows.

    Returns:
        The header's names, and for each row its name and cells; with each name the rank of the attack, −1 for a defense.
    """
    defenses, attacks = board.defenses(dataset), board.attacks(dataset)
    ranks = {attack: rank(board, dataset, attack) for attack in attacks}

    def cell(defense: str, attack: str) -> Heat:
        spread = board.spread("calibrated_auroc", dataset, defense, attack)
        outcomes = board.outcomes.get((dataset, defense, attack), [])
        share = None if spread is None else max(0.0, min(1.0, 2 * spread.mean - 1))
        html = writer.html((rate(spread.mean),) if spread else absent(outcomes))
        return Heat(html, address(dataset, defense, attack) if spread else "", share, ranks[attack])

    if len(defenses) > len(attacks):
        header = [(writer.name(attack), ranks[attack]) for attack in attacks]
        return header, [(writer.name(d), -1, [cell(d, a) for a in attacks]) for d in defenses]
    header = [(writer.name(defense), -1) for defense in defenses]
    return header, [(writer.name(a), ranks[a], [cell(d, a) for d in defenses]) for a in attacks]


@dataclass(frozen=True)
class CellRow:
    """A row of the table of all cells."""

    board: Board
    dataset: str
    defense: str
    attack: str

    def spread(self, column: str) -> Spread | None:
        """A figure of the cell."""
        return self.board.spread(column, self.dataset, self.defense, self.attack)


def cell_table(board: Board, dataset: str, writer: Writer) -> tuple[Shown, list[int]]:
    """All cells of a dataset, with the rank of the attack in each row."""
    rows = [
        CellRow(board, dataset, defense, attack)
        for defense in board.defenses(dataset)
        for attack in board.attacks(dataset)
        if (dataset, defense, attack) in board.outcomes
    ]
    shown = writer.table(f"All cells of {dataset}", build(CELL_COLUMNS, rows))
    for line, row in zip(shown.rows, rows, strict=True):
        href = address(dataset, row.defense, row.attack)
        line[1] = Cell(Markup('<a href="{}">{}</a>').format(href, writer.name(row.attack)))
    return shown, [rank(board, dataset, row.attack) for row in rows]


def _area(row: CellRow) -> Entry:
    spread = row.spread("calibrated_auroc")
    return figure(row.board, (row.dataset, row.defense, row.attack), spread, rates)


def _interval(row: CellRow) -> Entry:
    metrics = list(row.board.metrics(row.dataset, row.defense, row.attack).values())
    return (span(mean_interval(metrics, 0.95), rate) if metrics else MISSING,)


def _at(row: CellRow, column: str) -> Entry:
    spread = row.spread(column)
    return (rate(spread.mean) + missing_seeds(row.board, spread) if spread else MISSING,)


def _evaluations(row: CellRow) -> Entry:
    forwards, vjps = row.spread("forwards"), row.spread("vjps")
    return (f"{forwards.mean + vjps.mean:g}" if forwards and vjps else MISSING,)


CELL_COLUMNS: list[Column[CellRow]] = [
    Column(("defense",), lambda row: (Code(row.defense),)),
    Column(("attack",), lambda row: (Code(row.attack),)),
    Column(
        ("access",),
        lambda row: ((row.board.values("tier").get((row.dataset, row.defense, row.attack)) or [MISSING])[0],),
    ),
    Column(("AUROC",), _area),
    Column(("95 % interval",), _interval),
    Column(("published",), partial(_at, column="published_auroc")),
    Column(("oracle",), partial(_at, column="oracle_auroc")),
    Column(("TPR@1%FPR",), partial(_at, column="tpr_at_0.01")),
    Column(("TPR@10%FPR",), partial(_at, column="tpr_at_0.1")),
    Column(("evaluations",), _evaluations),
]
