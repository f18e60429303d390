"""``mibench export``."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from mibench.cli.common import SUITE
from mibench.cli.leaderboard import folders
from mibench.errors import MibenchError, UsageError

__all__ = ["arguments", "main"]

Rows = list[dict[str, Any]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("suite", nargs="*", help=f"{SUITE} (default: every suite there)")
    parser.add_argument(
        "--format",
        choices=["csv", "json", "parquet"],
        help="a row per record, a column per figure (default: as the file ends, else csv)",
    )
    parser.add_argument("--out", default="-", metavar="FILE", help="file to write; - is standard output (default: -)")


def main(args: argparse.Namespace) -> int:
    """Write what ``mibench.records`` gives, without the records themselves."""
    from mibench.files import replacing
    from mibench.leaderboard.frame import rows_of
    from mibench.results.folder import read_folder

    ending = Path(args.out).suffix.removeprefix(".")
    wanted = args.format or (ending if ending in FORMATS else "csv")
    if ending in FORMATS and ending != wanted:
        raise UsageError(f"--out {args.out} ends as {ending}, but --format is {wanted}; leave one of them out")
    places = dict.fromkeys(folder for suite in args.suite or [None] for folder in folders(suite))
    rows = [row for place in places for row in rows_of(read_folder(place), place)]
    content = FORMATS[wanted](rows)
    if args.out == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return 0
    try:
        with replacing(Path(args.out)) as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {args.out}: {error.strerror or error}; choose another --out") from None
    print(f"wrote {args.out}, {len(rows)} rows", file=sys.stderr)
    return 0


def _csv(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(rows: Rows) -> bytes:
    return (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(rows: Rows) -> bytes:
    try:
        from pyarrow import BufferOutputStream, Table
        from pyarrow.parquet import write_table
    except ImportError:
        raise MibenchError("Parquet files need pyarrow; run `pip install pyarrow`, or choose --format csv") from None
    sink = BufferOutputStream()
    write_table(Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())


FORMATS = {"csv": _csv, "json": _json, "parquet": _parquet}
