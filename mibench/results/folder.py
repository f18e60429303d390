"""The records of one suite."""

from __future__ import annotations

import gc
from pathlib import Path

from mibench.errors import MibenchError
from mibench.results.record import Record, read_record, unreadable

__all__ = ["UTILITY", "read_folder"]

UTILITY = "utility"
"""What stands in the place of the attack's name where a record is of a model's samples."""


def read_folder(folder: Path) -> list[tuple[Path, Record]]:
    """Every record of a suite's folder, sorted by path; one of older metrics has the status "outdated" and no figures.

    Raises:
        MibenchError: where a record cannot be read, was edited, or is of a newer mibench; the file is named.
    """
    records, reasons, collecting = [], [], gc.isenabled()
    gc.disable()  # records hold no cycles; to look for some again and again while they pile up takes a third of the time
    try:
        for path in sorted((folder / "records").rglob("*.json")):
            try:
                records.append((path, read_record(path, outdated=True)))
            except MibenchError as error:
                reasons.append(str(error))
    finally:
        if collecting:
            gc.enable()
    if reasons:
        raise unreadable(reasons)
    return records
