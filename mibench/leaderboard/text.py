"""Numbers and tables as text: what an entry of a table says, and tables as Markdown or for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tabulate

if TYPE_CHECKING:
    from mibench.leaderboard.summaries import Spread

__all__ = [
    "MISSING",
    "Code",
    "Entry",
    "Footnote",
    "Strong",
    "Table",
    "columns",
    "distinct",
    "markdown_table",
    "number",
    "numbers",
    "rate",
    "rates",
    "signed",
    "span",
]

MISSING = "–"
tabulate.WIDE_CHARS_MODE = False  # else the bytes of a board would depend on whether wcwidth is installed


class Code(str):
    """A name, shown in the typeface of code."""


class Strong(str):
    """Text shown in bold."""


class Footnote(str):
    """A reason, shown as a mark that leads to it."""


Entry = tuple[str, ...]
"""What stands in a table, piece by piece; ``Code``, ``Strong`` and ``Footnote`` say how a piece is shown."""


@dataclass(frozen=True)
class Table:
    """A table, however it is shown: its header, rows of the same length, and what the guide says of its columns."""

    header: list[Entry]
    rows: list[list[Entry]]
    explanations: tuple[str, ...] = ()


def rate(value: float) -> str:
    """A rate as .713, −.020 or 1.000."""
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def number(value: float, like: float | None = None) -> str:
    """Three significant digits without an exponent, or as many decimals as ``like`` would have."""
    size = abs(value if like is None else like)
    decimals = min(12, max(0, 2 - math.floor(math.log10(size)))) if size else 2
    return f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference of rates as +.020 or −.713."""
    text = rate(value)
    return text if text.startswith("−") else f"+{text}"


def span(interval: tuple[float, float], show: Callable[[float], str]) -> str:
    """An interval in brackets."""
    return f"[{show(interval[0])}, {show(interval[1])}]"


def rates(spread: Spread) -> str:
    """Rates as ``.713 ± .021``."""
    return rate(spread.mean) + ("" if spread.sd is None else f" ± {rate(spread.sd)}")


def numbers(spread: Spread) -> str:
    """Other numbers as ``12.3 ± 0.4``."""
    return number(spread.mean) + ("" if spread.sd is None else f" ± {number(spread.sd, spread.mean)}")


def distinct(values: Iterable[Any]) -> str:
    """The different values, sorted; a dash for none."""
    return ", ".join(sorted({str(value) for value in values})) or MISSING


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others centred."""
    escaped = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in (header, *rows)]
    align = ["left", *["center"] * (len(header) - 1)]
    return tabulate.tabulate(escaped[1:], escaped[0], "pipe", colalign=align, disable_numparse=True)


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] = (), right: Iterable[int] = ()) -> str:
    """Aligned columns for a terminal, those with the numbers in ``right`` to the right."""
    if not rows:
        return "  ".join(header)
    align = ["right" if k in right else "left" for k in range(len(rows[0]))]
    text = tabulate.tabulate(rows, header, "plain", colalign=align, disable_numparse=True)
    return "\n".join(line.rstrip() for line in text.splitlines())
