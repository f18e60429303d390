"""The class or caption of each file, from the names of folders or from a CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mibench.archives import open_archive
from mibench.auditing.checkpoint import Checkpoint
from mibench.auditing.conditions import Conditions, Kind
from mibench.auditing.files import Side
from mibench.errors import UsageError

__all__ = ["read_conditions"]


def read_conditions(
    labels: str | None, captions: str | None, sides: list[Side], checkpoint: Checkpoint, say: Callable[[str], None]
) -> Conditions | None:
    """What the model is told of each file; None for a model that is not conditional.

    Args:
        labels: "folders", where a file's folder names its class, or the path of a CSV with the columns file and label. Classes
            that are not numbers count in the order of their names.
        captions: "empty", where every file has the empty caption, or the path of a CSV with the columns file and caption.
        sides: whose files need one.
        checkpoint: of the model.
        say: takes a line where the CSV names files that are on no side.

    Raises:
        UsageError: where a conditional model has no labels or captions or another one has some, or a file has none or more than
            one.
    """
    for flag, text, wanted, other in (
        ("--labels", labels, checkpoint.labels > 0, "is not conditional on classes"),
        ("--captions", captions, checkpoint.captions is not None, "is not conditional on captions"),
    ):
        if text is not None and not wanted:
            raise UsageError(f"{flag} {text}: the model {other}; leave it out")
    if checkpoint.captions is not None:
        if captions is None:
            raise UsageError(
                "the model is conditional on text; give --captions CSV with the columns file and caption, or --captions empty"
            )
        of = dict(_captions(captions, sides, say))
        return Conditions("caption", {**of}, checkpoint.captions)
    if checkpoint.labels:
        if labels is None:
            raise UsageError(
                f"the model is conditional, of {checkpoint.labels} classes; give --labels folders, or a CSV"
            )
        return Conditions("label", {**_labels(labels, sides, checkpoint, say)})
    return None


def _captions(text: str, sides: list[Side], say: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    if text == "empty":
        return ((digest, "") for side in sides for digest in side.digests)
    return _Table(Path(text), "caption").found(sides, say)


def _labels(text: str, sides: list[Side], checkpoint: Checkpoint, say: Callable[[str], None]) -> dict[str, int]:
    classes, empty = checkpoint.labels, checkpoint.empty
    if text == "folders":
        named = {digest: _folder(name, side) for side in sides for name, digest in _files(side)}
    else:
        named = dict(_Table(Path(text), "label").found(sides, say))
    known = sorted(set(named.values()))
    numbers = {name: int(name) for name in known} if all(map(str.isdecimal, known)) else None
    if numbers is None and len(known) != classes - (empty == classes - 1):
        raise UsageError(
            f"--labels {text}: the files are of {len(known)} classes, and the model knows {classes}, so that names do not say "
            "which is which; give the number of each class, counted from 0, in the place of its name"
        )
    numbers = numbers or {name: k for k, name in enumerate(known)}
    if wrong := [name for name, number in numbers.items() if number >= classes]:
        raise UsageError(f"--labels {text}: class {wrong[0]} is none of the model's {classes}, counted from 0")
    return {digest: numbers[name] for digest, name in named.items()}


def _files(side: Side) -> Iterator[tuple[str, str]]:
    """Name and digest of each file."""
    return zip(side.names, side.digests, strict=True)


def _folder(name: str, side: Side) -> str:
    """The name of the folder that a file is in."""
    if (folder := PurePosixPath(name).parent.name) == "":
        raise UsageError(f"{side.path}: {name} lies in no folder of a class; put files into one folder for each class")
    return folder


class _Table:
    """A CSV with a row for each file. A file is named by its path on its side, which the name of the side's folder may precede,
    or by its own name.

    Args:
        path: of the CSV.
        column: the one beside ``file``, "label" or "caption".

    Raises:
        UsageError: where it is no such file, or names a file twice.
    """

    def __init__(self, path: Path, column: Kind) -> None:
        self.column, self.flag = column, f"--{column}s {path}"
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"{self.flag} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not rows or not {"file", column} <= rows[0].keys():
            raise UsageError(f"{self.flag}: give a CSV with a header and the columns file and {column}")
        for name, count in Counter(row["file"] for row in rows).items():
            if count > 1:
                raise UsageError(f"{self.flag}: {name} is in it {count} times")
        self.rows = {row["file"]: (row[column] or "").strip() for row in rows}

    def found(self, sides: list[Side], say: Callable[[str], None]) -> Iterator[tuple[str, str]]:
        """Digest and value of each file, row by row.

        Raises:
            UsageError: where a file has none, or one row is of two files.
        """
        used: dict[str, str] = {}
        for side in sides:
            for name, digest in _files(side):
                shown = f"{side.path.name}/{name}"
                row = self._row_of(side, name)
                if row is None or (self.column == "label" and not self.rows[row]):
                    raise UsageError(f"{side.path}: {name} has no {self.column} in {self.flag.partition(' ')[2]}")
                if row in used:
                    raise UsageError(
                        f"{self.flag}: {row} may be {used[row]} or {shown}; write the folder before it, as here"
                    )
                used[row] = shown
                yield digest, self.rows[row]
        there = {self._row_of(side, name) for side in sides for name in open_archive(side.path).names}
        if unused := [row for row in self.rows if row not in there]:
            say(f"{self.flag}: {len(unused)} of {len(self.rows)} rows are of no file, such as {unused[0]}")

    def _row_of(self, side: Side, name: str) -> str | None:
        choices = (f"{side.path.name}/{name}", name, PurePosixPath(name).name)
        return next((choice for choice in choices if choice in self.rows), None)
