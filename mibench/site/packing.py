"""What a page carries in small space, for its script to unpack: text compressed, and rows by columns."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from typing import Any

__all__ = ["columns", "packed"]

Key = tuple[str, ...]


def packed(text: str) -> str:
    """Text compressed with zlib, in base64."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows by columns, which compress better, as like is beside like.

    Args:
        rows: nested mappings, such as records.

    Returns:
        ``keys``, each the names that lead to a value; ``values``, of each key those of the rows that have it, in their order;
        ``shapes``, lists of numbers of keys; ``rows``, of each row the number of its shape.
    """
    values: dict[Key, list[Any]] = {}
    shapes: dict[tuple[Key, ...], int] = {}
    found = []
    for row in rows:
        leaves = dict(_leaves(row))
        for key, value in leaves.items():
            values.setdefault(key, []).append(value)
        found.append(shapes.setdefault(tuple(leaves), len(shapes)))
    place = {key: k for k, key in enumerate(values)}
    return {
        "keys": list(values),
        "values": list(values.values()),
        "shapes": [[place[key] for key in shape] for shape in shapes],
        "rows": found,
    }


def _leaves(row: dict[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, value in row.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value
