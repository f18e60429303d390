"""The records of one suite."""

from __future__ import annotations

import gc
from pathlib import Path

from mibench.errors import MibenchError
from mibench.results.record import Record, read_record

__all__ = ["UTILITY", "missing_fields", "read_folder"]

UTILITY = "utility"
"""What stands in the place of the attack's name where a record is of a model's samples."""


def missing_fields(record: Record) -> list[str]:
    """What a record must hold to be shown, but does not; one that failed need not know its split, weights and cost."""
    needs: dict[str, tuple[str, ...]] = {
        "labels": ("dataset", "defense", "attack"),
        "cell": ("dataset", "seed", "model"),
        "model": ("key", "digest"),
        "split": ("fingerprint", "members", "nonmembers", "reference", "near_duplicates"),
        "cost": ("forwards", "vjps"),
    }
    if record.status == "failed":
        needs |= {"model": ("key",), "split": (), "cost": ()}
    missing = [f"{part}.{name}" for part, names in needs.items() for name in names if name not in getattr(record, part)]
    if record.status != "done" and not record.reason:
        missing.append("reason")
    wanted = UTILITY if record.labels.get("attack") == UTILITY else "attack"
    if record.status == "done" and getattr(record, wanted) is None:
        missing.append(wanted)
    return missing


def read_folder(folder: Path) -> list[tuple[Path, Record]]:
    """Every record of a suite's folder, sorted by path.

    Raises:
        MibenchError: where a record cannot be read, was edited, or lacks something; the file is named.
    """
    found, collecting = [], gc.isenabled()
    gc.disable()  # records hold no cycles; to look for some again and again while they pile up takes a third of the time
    try:
        for path in sorted((folder / "records").rglob("*.json")):
            record = read_record(path)
            if missing := missing_fields(record):
                raise MibenchError(f"{path} lacks {', '.join(missing)}; delete it and run the suite again")
            found.append((path, record))
    finally:
        if collecting:
            gc.enable()
    return found
