"""Write the table of what each attack reaches on the controls into docs/attacks.md, from the records of the suite ``attacks``.

Run ``.venv/bin/python benchmarks/control_lines.py``; with ``--check`` nothing is written, and it exits with 1 on a difference.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mibench.leaderboard.board import Board, open_board
from mibench.leaderboard.controls import controls
from mibench.leaderboard.text import markdown_table, rate
from mibench.plugins import load
from mibench.results.known import Known

ROOT = Path(__file__).parent.parent
CARDS = ROOT / "docs" / "attacks.md"
TABLE = re.compile(r"(?<=writes this table.\n\n)(\|.*\n)+")


def control_table(board: Board) -> str:
    """A row per attack: by dataset the least AUROC on exact models and the farthest from .5 on fresh data."""
    datasets = board.datasets()
    found = {dataset: controls(board, dataset) for dataset in datasets}
    header = [f"{dataset.partition(':')[0]}: {kind}" for dataset in datasets for kind in ("exact", "fresh")]
    rows = []
    for attack in dict.fromkeys(attack for dataset in datasets for attack in found[dataset]):
        of = [found[dataset].get(attack) for dataset in datasets]
        areas = [area for one in of for area in ((one.exact, one.fresh) if one else (None, None))]
        rows.append([f"`{attack}`", *("n/a" if area is None else rate(area) for area in areas)])
    return markdown_table(["attack", *header], rows) + "\n"


def main(check: bool) -> int:
    """Fill in the table, or compare."""
    text = CARDS.read_text(encoding="utf-8")
    board = open_board(ROOT / "leaderboards" / "attacks", Known.of(load()))
    filled = TABLE.sub(control_table(board).replace("\\", r"\\"), text)
    if check:
        return int(filled != text)
    CARDS.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv))
