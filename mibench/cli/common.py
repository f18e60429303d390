"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mibench.results.store import Store, default_root

__all__ = ["SUITE", "add_json", "add_plugins", "add_store", "counted", "open_store", "print_json"]

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


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the result as JSON, for scripts (docs/operations.md says what is in it)",
    )


def print_json(value: dict[str, Any]) -> None:
    """Print a result for scripts."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def counted(number: int, what: str) -> str:
    """Such as "1 cell" or "2 cells"."""
    return f"{number} {what}{'s' * (number != 1)}"


def open_store(args: argparse.Namespace, write: bool = True) -> Store:
    """The store that --store names, or the default one; whether it is also written."""
    return Store(Path(args.store).absolute() if args.store else default_root(), write)
