"""What the store holds, and what of it no record needs."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mibench.errors import MibenchError
from mibench.results.record import Record, read_record
from mibench.results.store import KINDS, Store
from mibench.suite.plan import Plan

__all__ = ["Artifact", "contents", "in_use", "prune"]

FRESH = 3600.0
"""Seconds for which what is half made may still be in the making; a save takes a few."""


@dataclass(frozen=True)
class Artifact:
    """One artifact, log or leftover.

    Attributes:
        kind: "models", "partials", "scores", "samples", "features" or "logs".
        state: "whole", "corrupt" (set aside) or "half made" (a process ended while it wrote).
        size: in bytes.
        needed: whether a record, or a cell that is still to be run, needs it.
    """

    kind: str
    path: Path
    state: str
    size: int
    needed: bool


def contents(store: Store, plans: list[Plan]) -> list[Artifact]:
    """Everything in the store but its records, which need their artifacts as those of the plans do.

    Trainings under way and features belong to no record; they are needed while a cell of the plans is not done.

    Args:
        store: what is looked at.
        plans: of the suites that count.
    """
    needed = _needed(store, plans)
    open_cells = any(state != "done" for plan in plans for state, _ in plan.states())
    found = []
    for kind in (*KINDS, "logs"):
        for path in sorted((store.root / kind).glob("*")):
            state = (
                "half made" if path.name.startswith(".making-") else "corrupt" if path.suffix == ".corrupt" else "whole"
            )
            if state == "half made":
                want = _age(path) < FRESH
            elif kind in ("partials", "features"):
                want = state == "whole" and open_cells
            else:
                want = path.name in needed[kind]
            found.append(Artifact(kind, path, state, _size(path), want))
    return found


def prune(artifacts: Iterable[Artifact]) -> None:
    """Delete artifacts.

    Raises:
        MibenchError: where one cannot be deleted.
    """
    for artifact in artifacts:
        try:
            if artifact.path.is_dir():
                shutil.rmtree(artifact.path)
            else:
                artifact.path.unlink(missing_ok=True)
        except OSError as error:
            raise MibenchError(f"cannot delete {artifact.path}: {error.strerror}") from None


def in_use(store: Store) -> bool:
    """Whether a run is working on the store: it holds a lock in ``locks/``."""
    for path in (store.root / "locks").glob("*"):
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        except (OSError, NotImplementedError):
            continue
        lock.release()
    return False


def _needed(store: Store, plans: list[Plan]) -> dict[str, set[str]]:
    """Names by kind."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    digests: set[str] = set()
    for folder in {store.root / "records", *(plan.records for plan in plans)}:
        for path in folder.rglob("*.json"):
            with suppress(MibenchError):
                _add(found, digests, read_record(path))
    for plan in plans:
        for cell in plan.cells:
            found["models"] |= {cell.model_key} | {shadow.model_key for shadow in cell.shadows()}
            found["logs"] |= {
                plan.log(cell, kind, alone).name for kind in ("models", "measure") for alone in (False, True)
            }
            weights = plan.weights(cell)
            if weights is not None:
                found["scores" if cell.attack else "samples"].add(cell.key(weights))
    for key in store.keys("models", "") if digests else ():
        with suppress(MibenchError):
            if store.meta("models", key)["digest"] in digests:
                found["models"].add(key)
    return found


def _add(found: dict[str, set[str]], digests: set[str], record: Record) -> None:
    """What a record stands on: its model, its scores or samples, and its shadow models, which it names by their digests."""
    found["models"].add(record.model.key)
    for kind in ("scores", "samples"):
        found[kind].add(record.key)
    digests.update(record.model.shadows or ())


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    with suppress(OSError):
        return sum(part.lstat().st_size for part in (path.rglob("*") if path.is_dir() else (path,)))
    return 0


def _age(path: Path) -> float:
    """Seconds since it was written to; with a clock that was set back it is young."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0
