"""``mibench leaderboard``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mibench.cli.common import SUITE
from mibench.errors import UsageError

__all__ = ["arguments", "folders", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="?", help=f"{SUITE} (default: every suite there)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a README.md differs from its records"
    )


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
    from mibench.leaderboard.markdown import check

    worst = 0
    for folder in folders(args.suite):
        if args.check:
            difference = check(folder)
            print(f"{folder}: {difference or 'up to date'}")
            worst = max(worst, int(difference is not None))
        else:
            _write(folder)
    return worst


def _write(folder: Path) -> None:
    """Write a suite's README and its pictures."""
    from mibench.files import write_text
    from mibench.leaderboard.board import open_board
    from mibench.leaderboard.markdown import TRADEOFF, TRAINING, pictures, render

    board = open_board(folder)
    write_text(folder / "README.md", render(folder, board))
    print(f"wrote {folder / 'README.md'}")
    if wanted := pictures(board):
        from mibench.leaderboard.plots import plot_tradeoff, plot_training

        for name, plot in ((TRADEOFF, plot_tradeoff), (TRAINING, plot_training)):
            if name in wanted:
                plot(board, folder / name)
                print(f"wrote {folder / name}")
