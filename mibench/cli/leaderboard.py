"""``mibench leaderboard``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.cli.common import SUITE, add_plugins
from mibench.errors import UsageError, one_line

if TYPE_CHECKING:
    from mibench.leaderboard.board import Board
    from mibench.leaderboard.index import Boards

__all__ = ["arguments", "folders", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="?", help=f"{SUITE} (default: every suite there)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if a README.md, a picture or the index differs from its records, or where these "
        "are stale, outdated, not in the suite's list, or of methods that are not registered",
    )
    add_plugins(parser)


def folders(suite: str | None) -> list[Path]:
    """The folder of one suite, or of all under leaderboards/."""
    from mibench.suite.suite import all_suites, find_suite

    if suite:
        return [find_suite(suite)]
    found = all_suites()
    if not found:
        raise UsageError("there is no leaderboards/*/suite.toml here; name a suite")
    return found


def main(args: argparse.Namespace) -> int:
    """Render, or compare."""
    from mibench.leaderboard.board import open_board
    from mibench.leaderboard.markdown import check
    from mibench.plugins import load
    from mibench.results.known import Known
    from mibench.site.pictures import check_pictures

    known, problems, boards = Known.of(load(tuple(args.plugin))), 0, []
    for folder in folders(args.suite):
        board = open_board(folder, known)
        boards.append((folder, board))
        if not args.check:
            _write(folder, board)
            continue
        found = [*check(folder, board), *check_pictures(folder, board)]
        problems += len(found)
        for line in found or ["up to date"]:
            print(one_line(f"{folder}: {line}"))
    if not args.suite:
        problems += _index(boards, args.check)
    return 1 if problems else 0


def _index(boards: Boards, check: bool) -> int:
    """Write the index over all suites, or print how it differs; the number of differences."""
    from mibench.files import write_text
    from mibench.leaderboard.index import check_index, index_markdown
    from mibench.suite.suite import ROOT

    path = Path(ROOT) / "README.md"
    if check:
        found = check_index(path, boards)
        for line in found:
            print(one_line(line))
        return len(found)
    write_text(path, index_markdown(boards))
    print(f"wrote {path}")
    return 0


def _write(folder: Path, board: Board) -> None:
    """Write a suite's README and its pictures."""
    from mibench.files import write_text
    from mibench.leaderboard.markdown import pictures, render
    from mibench.site.pictures import picture

    files = {"README.md": render(folder, board)} | {name: picture(board, name) for name in pictures(board)}
    for name, text in files.items():
        write_text(folder / name, text)
        print(f"wrote {folder / name}")
