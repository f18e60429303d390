"""The index of the site, which answers: which defense, at what price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from mibench.leaderboard.board import Board
from mibench.leaderboard.choices import choice_table, choices
from mibench.leaderboard.index import HOW_TO_READ, Boards, again, home, measured, summary
from mibench.site.libraries import template
from mibench.site.text import Cell, Writer, address, markdown
from mibench.suite.suite import suite_name

__all__ = ["index_page"]

DOUBTS, COMMAND = 4, 5
"""The places of the reservations and of the command among the columns of ``choice_table``."""


def index_page(boards: Boards) -> str:
    """The index over these boards, whose pages are ``<suite>.html`` beside it."""
    found = [(name, [_answers(*entry) for entry in entries]) for name, entries in measured(boards).items()]
    rows = [
        {
            "name": suite_name(folder),
            "title": board.suite.title,
            "progress": board.progress,
            "datasets": len(board.suite.datasets),
            "defenses": len(board.suite.defenses),
            "attacks": len(board.suite.attacks),
        }
        for folder, board in boards
    ]
    return str(
        template("index.html").render(
            title="Which defense, at what price?", how=markdown(HOW_TO_READ), found=found, boards=rows
        )
    )


def _answers(folder: Path, board: Board, dataset: str) -> dict[str, Any]:
    """The table of one board and dataset, its names with links to the cells' records."""
    found = choices(board, dataset)
    writer, suite = Writer(board.display_names), suite_name(folder)
    table = choice_table(board, dataset, home(folder))
    shown = writer.table(f"{board.suite.title}: defenses on {dataset}", table)
    for line, entries, row in zip(shown.rows, table.rows, found, strict=True):
        href = f"{suite}.html{address(dataset, row.defense, row.worst.attack, step=row.step)}"
        line[0] = Cell(Markup('<a href="{}">{}</a>').format(href, line[0].html))
        line[DOUBTS] = Cell(line[DOUBTS].html, str(len(row.doubts)))
        line[COMMAND] = Cell(Markup("<code>{}</code>").format("".join(entries[COMMAND])))
    return {
        "suite": suite,
        "title": board.suite.title,
        "label": dataset,
        "name": writer.names.get(dataset, dataset),
        "summary": summary(board, dataset, lambda label: writer.names.get(label, label)),
        "table": shown,
        "beyond": [not row.at_utility for row in found],
        "again": again(folder),
    }
