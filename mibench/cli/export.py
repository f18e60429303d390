"""``mibench export``."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from mibench.cli.common import SUITE, add_plugins, counted
from mibench.cli.leaderboard import folders
from mibench.errors import UsageError, one_line

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
    parser.add_argument(
        "--all",
        action="store_true",
        help="keep the records that are stale or that the suite does not ask for; the column `current` tells them apart",
    )
    parser.add_argument("--out", default="-", metavar="FILE", help="file to write; - is standard output (default: -)")
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Write what ``mibench.records`` gives, without the records themselves."""
    from mibench.files import replacing
    from mibench.leaderboard.frame import rows_of
    from mibench.leaderboard.records import choose, notes
    from mibench.plugins import load
    from mibench.results.known import Known
    from mibench.suite.suite import load_suite

    _check_place(args.out)
    ending = Path(args.out).suffix.removeprefix(".").lower()
    wanted = args.format or (ending if ending in FORMATS else "csv")
    if ending in FORMATS and ending != wanted:
        raise UsageError(f"--out {args.out} ends as {ending}, but --format is {wanted}; leave one of them out")
    places = dict.fromkeys(folder for suite in args.suite or [None] for folder in folders(suite))
    known, rows = Known.of(load(tuple(args.plugin))), []
    for place in places:
        found, selection = choose(load_suite(str(place)), known, not args.all)
        rows += rows_of(found, selection, place)
        for note in [] if args.all else notes(selection, place):
            print(f"note: {one_line(note)}", file=sys.stderr)
    content = FORMATS[wanted](rows)
    if args.out == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return 0
    try:
        with replacing(Path(args.out).resolve()) as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {args.out}: {error.strerror or error}; choose another --out") from None
    print(f"wrote {args.out}, {counted(len(rows), 'row')}", file=sys.stderr)
    return 0


def _check_place(out: str) -> None:
    """UsageError where --out is no file in a folder that exists."""
    path = Path(out)
    if out == "-" or path.is_file():
        return
    if path.exists():
        raise UsageError(f"--out {out!r} is no file; give the path of a file, or - for standard output")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {path.parent}; make it first, or choose another --out")


def _csv(rows: Rows) -> bytes:
    from mibench.leaderboard.frame import types_of

    text = io.StringIO()
    writer = csv.DictWriter(text, types_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(rows: Rows) -> bytes:
    return (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(rows: Rows) -> bytes:
    from mibench.leaderboard.frame import types_of

    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'mibench[parquet]', or choose --format csv") from None
    types = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in types_of(rows).items()])
    sink = pyarrow.BufferOutputStream()
    write_table(pyarrow.Table.from_pylist(rows, schema), sink)
    return bytes(sink.getvalue().to_pybytes())


FORMATS = {"csv": _csv, "json": _json, "parquet": _parquet}
