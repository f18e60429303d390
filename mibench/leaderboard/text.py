"""Numbers, names and tables as Markdown.

Tables are written here and not with a library, whose next version would change the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mibench.leaderboard.tables import Spread

__all__ = ["MISSING", "code", "distinct", "number", "numbers", "rate", "rates", "signed", "span", "table"]

MISSING = "–"


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


def rates(found: Spread) -> str:
    """Rates as ``.713 ± .021``."""
    return rate(found.mean) + ("" if found.sd is None else f" ± {rate(found.sd)}")


def numbers(found: Spread) -> str:
    """Other numbers as ``12.3 ± 0.4``."""
    return number(found.mean) + ("" if found.sd is None else f" ± {number(found.sd, found.mean)}")


def code(text: str) -> str:
    """A name in the typeface of code."""
    return f"`{text}`"


def distinct(values: Iterable[Any]) -> str:
    """The different values, sorted; a dash for none."""
    return ", ".join(sorted({str(value) for value in values})) or MISSING


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others centred."""
    lines = [header, [":--", *[":-:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
