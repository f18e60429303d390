"""The classes of the files, for a class-conditional model."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from mibench.auditing.checkpoint import Checkpoint
from mibench.auditing.files import Side
from mibench.errors import UsageError

__all__ = ["read_labels"]


def read_labels(text: str | None, sides: list[Side], checkpoint: Checkpoint) -> dict[str, int] | None:
    """The class of each file by its digest; None for a model that is not conditional.

    Args:
        text: "folders", where a file's folder names its class, or the path of a CSV with the columns file and label. Classes
            that are not numbers count in the order of their names.
        sides: whose files need one.
        checkpoint: of the model.

    Raises:
        UsageError: where a conditional model has no labels or another one has some, or a file has none.
    """
    if not checkpoint.labels:
        if text is not None:
            raise UsageError(f"--labels {text}: the model is not conditional; leave it out")
        return None
    if text is None:
        raise UsageError(f"the model is conditional, of {checkpoint.labels} classes; give --labels folders, or a CSV")
    known = None if text == "folders" else _table(Path(text))
    named = {
        digest: _class_of(name, known, side)
        for side in sides
        for name, digest in zip(side.names, side.digests, strict=True)
    }
    classes = sorted(set(named.values()))
    numbers = {name: int(name) for name in classes} if all(map(str.isdecimal, classes)) else None
    numbers = numbers or {name: k for k, name in enumerate(classes)}
    if wrong := [name for name, number in numbers.items() if number >= checkpoint.labels]:
        raise UsageError(
            f"--labels {text}: class {wrong[0]} is none of the model's {checkpoint.labels}, counted from 0"
        )
    return {digest: numbers[name] for digest, name in named.items()}


def _class_of(name: str, known: dict[str, str] | None, side: Side) -> str:
    """The name of a file's class."""
    if known is not None:
        if (found := known.get(name) or known.get(PurePosixPath(name).name)) is None:
            raise UsageError(f"{side.path}: {name} has no label in the CSV")
        return found
    if (folder := PurePosixPath(name).parent.name) == "":
        raise UsageError(f"{side.path}: {name} lies in no folder of a class; put files into one folder for each class")
    return folder


def _table(path: Path) -> dict[str, str]:
    """The labels of a CSV by file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--labels {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows or not {"file", "label"} <= rows[0].keys():
        raise UsageError(f"--labels {path}: give a CSV with a header and the columns file and label")
    return {row["file"]: row["label"].strip() for row in rows}
