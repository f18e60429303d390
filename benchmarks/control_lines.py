"""Write what each attack reaches on the controls into its card in docs/attacks.md, from the records of the suite ``attacks``.

Run ``.venv/bin/python benchmarks/control_lines.py``; with ``--check`` nothing is written, and it exits with 1 on a difference.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mibench.leaderboard.tables import Board, open_board
from mibench.leaderboard.text import rate

ROOT = Path(__file__).parent.parent
CARDS = ROOT / "docs" / "attacks.md"
START = "**Controls**: "


def line(board: Board, name: str) -> str:
    """One line for an attack: the least AUROC on exact models and the farthest from .5 on fresh data, by dataset."""
    parts = []
    for dataset in board.datasets():
        for label, found in board.controls(dataset).items():
            if label.rpartition("+")[2].partition(":")[0] == name:
                exact = "n/a" if found.exact is None else rate(found.exact)
                fresh = "n/a" if found.fresh is None else rate(found.fresh)
                parts.append(f"`{label}` on {dataset.partition(':')[0]}: exact {exact}, fresh {fresh}")
    return START + ("; ".join(parts) or "n/a: it needs weights, which an exact model has not") + "."


def main(check: bool) -> int:
    """Fill in the lines, or compare."""
    board, text = open_board(ROOT / "leaderboards" / "attacks"), CARDS.read_text(encoding="utf-8")
    cards = re.split(r"(?m)^(?=##+ )", text)
    for k, card in enumerate(cards):
        if card.startswith("### "):
            kept = [row for row in card.rstrip().splitlines() if not row.startswith(("<!-- controls:", START))]
            while not kept[-1]:
                kept.pop()
            cards[k] = "\n".join([*kept, "", line(board, kept[0].removeprefix("### ")), "", ""])
    filled = "".join(cards).rstrip() + "\n"
    if check:
        return int(filled != text)
    CARDS.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv))
