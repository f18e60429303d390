"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from mibench.results.store import Store, default_root

__all__ = ["SUITE", "add_plugins", "add_store", "open_store"]

SUITE = "a suite.toml, its folder, or its name under leaderboards/"


def add_store(parser: argparse.ArgumentParser) -> None:
    """--store."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        help="folder of models, scores and samples (default: $MIBENCH_STORE, else the user's cache)",
    )


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """--plugin."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE.py",
        help="load a plugin from a file; repeatable",
    )


def open_store(args: argparse.Namespace, write: bool = True) -> Store:
    """The store that --store names, or the default one; whether it is also written."""
    return Store(Path(args.store).absolute() if args.store else default_root(), write)
