"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from mibench.results.store import Store, default_root

__all__ = ["add_plugins", "add_store", "open_store"]


def add_store(parser: argparse.ArgumentParser) -> None:
    """--store."""
    parser.add_argument(
        "--store", metavar="DIR", help="where artifacts are kept (default: $MIBENCH_STORE, else the user's cache)"
    )


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """--plugin."""
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="load a loose plugin file; repeats"
    )


def open_store(args: argparse.Namespace, write: bool = True) -> Store:
    """The store that --store names, or the default one; whether it is also written."""
    return Store(Path(args.store).absolute() if args.store else default_root(), write)
