"""``mibench site``."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.cli.common import SUITE, add_plugins, add_store
from mibench.errors import MibenchError, UsageError

if TYPE_CHECKING:
    from mibench.results.known import Known

__all__ = ["arguments", "main"]

WATCHED_EVERY = 5
"""Seconds between two looks at the records of a suite that is watched."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="*", help=f"{SUITE} (default: every suite there)")
    parser.add_argument("--out", default="site", metavar="DIR", help="folder for the pages (default: site)")
    parser.add_argument(
        "--samples", action="store_true", help="also show what the models of the store generate: pictures and sounds"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="rebuild the pages while a run fills the suite, until Ctrl-C; an open page follows",
    )
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Write a page for each suite, and the index."""
    from mibench.cli.leaderboard import folders
    from mibench.plugins import load
    from mibench.results.known import Known

    known = Known.of(load(tuple(args.plugin)))
    found = [folder for suite in args.suite for folder in folders(suite)] or folders(None)
    if not args.watch:
        _build(found, known, args)
        return 0
    with suppress(KeyboardInterrupt):  # which is how to end it
        _watch(found, known, args)
    return 0


def _build(found: list[Path], known: Known, args: argparse.Namespace) -> None:
    """All pages; the records of each suite are read once."""
    from mibench.cli.common import open_store
    from mibench.files import write_text
    from mibench.leaderboard.board import open_board
    from mibench.site.index import index_page
    from mibench.site.page import board_page
    from mibench.suite.suite import suite_name

    out, boards = Path(args.out), []
    for folder in found:
        board, media = open_board(folder, known), {}
        if args.samples:
            from mibench.site.samples import media_of

            media = media_of(board, open_store(args, write=False))
        path = out / f"{suite_name(folder)}.html"
        write_text(path, board_page(folder, board, 2 * WATCHED_EVERY if args.watch else 0, media))
        boards.append((folder, board))
        print(f"wrote {path}")
    write_text(out / "index.html", index_page(boards))
    print(f"wrote {out / 'index.html'}")


def _watch(found: list[Path], known: Known, args: argparse.Namespace) -> None:
    """Build the pages again and again, whenever a record has come or changed."""
    if not args.suite:
        raise UsageError("--watch needs the name of a suite")
    before: object = None
    while True:
        now = [(path, path.stat().st_mtime_ns) for folder in found for path in _records(folder)]
        if now != before:
            try:
                _build(found, known, args)
                before = now
            except MibenchError as error:
                print(f"mibench: {error}; trying again")
        time.sleep(WATCHED_EVERY)


def _records(folder: Path) -> list[Path]:
    return sorted((folder / "records").rglob("*.json"))
