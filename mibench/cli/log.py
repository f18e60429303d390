"""``mibench log``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mibench.cli.common import add_store, open_store
from mibench.errors import UsageError

__all__ = ["arguments", "main"]

SHOWN = 12


class _Entry(NamedTuple):
    """A cell or model that the first lines of a log name; ``record`` is "" for a model."""

    title: str
    record: str
    log: Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "cell",
        nargs="+",
        metavar="CELL",
        help="words of the cell's title as `mibench run` prints it, or the path of its record",
    )
    add_store(parser)


def main(args: argparse.Namespace) -> int:
    """Print the last log of a cell's job; if several cells match, list them."""
    folder = open_store(args, write=False).root / "logs"
    entries = [entry for log in folder.glob("*.log") for entry in _entries(log)]
    found = _matching(entries, " ".join(args.cell))
    titles = sorted({entry.title for entry in found})
    if not titles:
        raise UsageError(
            f"no log in {folder} matches {' '.join(args.cell)[:80]!r}; `mibench status SUITE` lists the cells that failed"
        )
    if len(titles) > 1:
        for title in titles[:SHOWN]:
            print(title, file=sys.stderr)
        raise UsageError(f"{len(titles)} logs match; give more words of the title, or the path of the record")
    log = max((entry.log for entry in found), key=lambda path: path.stat().st_mtime_ns)
    print(f"{log}:", file=sys.stderr)
    sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
    return 0


def _entries(log: Path) -> Iterator[_Entry]:
    """The first lines of a log, ``# title [record]``; none where it cannot be read."""
    with suppress(PermissionError), open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("# "):
                return
            title, _, record = line[2:].strip().partition(" [")
            yield _Entry(title, record.rstrip("]"), log)


def _matching(entries: list[_Entry], text: str) -> list[_Entry]:
    """Entries that match a record's path, else a whole title, else all words; for a cell that never ran, its model."""
    words = _words(text)
    choices = (
        [entry for entry in entries if entry.record and Path(text).as_posix().endswith(entry.record)],
        [entry for entry in entries if entry.title == text],
        [entry for entry in entries if words <= _words(entry.title)],
        [entry for entry in entries if not entry.record and _words(entry.title) <= words],
    )
    return next((found for found in choices if found), [])


def _words(text: str) -> set[str]:
    return set(text.lower().split()) - {"·"}
