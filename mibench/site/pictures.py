"""The pictures of the Markdown boards: the plots of the pages, by the same specifications, as SVG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from mibench.files import sha256
from mibench.leaderboard.board import TIERS, Board
from mibench.leaderboard.markdown import TRADEOFF, pictures
from mibench.site.compiling import PLOTS, compiled, filled
from mibench.site.libraries import to_svg
from mibench.site.points import points, tradeoff_plot
from mibench.suite.suite import suite_name

__all__ = ["check_pictures", "picture"]

WIDTH, HEIGHT, COLUMNS = 520, 420, 2
"""The size of a panel, and how many stand in a row."""

UNSEEN = {"cell", "tip"}
"""What only a page shows of a row."""


class Panel(NamedTuple):
    """One plot of a picture: the specification in Vega-Lite and its rows."""

    spec: dict[str, Any]
    rows: list[dict[str, Any]]


def picture(board: Board, name: str) -> str:
    """A picture of a board as SVG, with the digest of what it shows.

    Args:
        board: that ``open_board`` gives.
        name: of the file, one of ``mibench.leaderboard.markdown.pictures``.
    """
    panels = _panels(board, name)
    drawn = []
    for k, panel in enumerate(panels):
        place = f'<svg x="{k % COLUMNS * WIDTH}" y="{k // COLUMNS * HEIGHT}"'
        drawn.append(to_svg(filled(compiled(panel.spec), panel.rows)).replace("<svg", place, 1))
    across, down = WIDTH * min(len(panels), COLUMNS), HEIGHT * -(-len(panels) // COLUMNS)
    size = f'width="{across}" height="{down}" viewBox="0 0 {across} {down}"'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<!-- {_digest(panels)} -->\n{ground}'
    return "\n".join([head, *drawn, "</svg>\n"])


def check_pictures(folder: Path, board: Board) -> list[str]:
    """How the pictures beside a README differ from the records.

    What they were drawn of is compared, by its digest in the file, not how: that may depend on the version of Vega.
    """
    found = []
    for name in pictures(board):
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif f"<!-- {_digest(_panels(board, name))} -->" not in path.read_text(encoding="utf-8", errors="replace"):
            found.append(f"{path} differs from its records")
    return [f"{text}; run `mibench leaderboard {suite_name(folder)}`" for text in found]


def _digest(panels: list[Panel]) -> str:
    return sha256(json.dumps(panels, sort_keys=True).encode())


def _panels(board: Board, name: str) -> list[Panel]:
    """The plots of each dataset, against the strongest attacker."""
    found = []
    for dataset in board.datasets():
        rows = [row for row in points(board, dataset, TIERS[-1]) if row["fd"] is not None]
        kinds = [tradeoff_plot(rows)] if name == TRADEOFF else ["area", "fd"]
        title = {"text": board.display_names.get(dataset, dataset), "anchor": "start", "limit": WIDTH - 60}
        shown = [{key: value for key, value in row.items() if key not in UNSEEN} for row in rows]
        found += [
            Panel(PLOTS[kind] | {"width": WIDTH, "height": HEIGHT, "title": title}, shown) for kind in kinds if rows
        ]
    return found
