"""The artifacts in the store, and which of them no record needs."""

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

HALF_MADE_FOR = 3600.0
"""Seconds for which a half-made artifact is kept, since a process may still be writing it; writing takes a few."""


@dataclass(frozen=True)
class Artifact:
    """One artifact or log, whole or not.

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
    """All artifacts and logs in the store.

    Records, in the store or of the plans, need their artifacts, as the cells of the plans do. Unfinished trainings and
    features belong to no record; they are needed while a cell of the plans is not done.

    Args:
        store: the store.
        plans: of the suites whose artifacts are needed.
    """
    needed = _needed(store, plans)
    unfinished = any(state != "done" for plan in plans for state, _ in plan.states())
    artifacts = []
    for kind in (*KINDS, "logs"):
        for path in sorted((store.root / kind).glob("*")):
            state, is_needed = "corrupt" if path.suffix == ".corrupt" else "whole", path.name in needed[kind]
            if path.name.startswith(".making-"):
                state, is_needed = "half made", _age(path) < HALF_MADE_FOR
            elif kind in ("partials", "features"):
                is_needed = state == "whole" and unfinished
            artifacts.append(Artifact(kind, path, state, _size(path), is_needed))
    return artifacts


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
    """Whether a run is using the store: it holds a lock in ``locks/``."""
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
    """The names of the artifacts and logs that are needed, by kind."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    digests: set[str] = set()
    for folder in {store.root / "records", *(plan.records for plan in plans)}:
        for path in folder.rglob("*.json"):
            with suppress(MibenchError):
                _add(names, digests, read_record(path, outdated=True))
    for plan in plans:
        for cell in plan.cells:
            names["models"] |= {cell.model_key} | {shadow.model_key for shadow in cell.shadows()}
            names["logs"] |= {
                plan.log(cell, kind, alone).name for kind in ("models", "measure") for alone in (False, True)
            }
            weights = plan.weights(cell)
            if weights is not None:
                names["scores" if cell.attack else "samples"].add(cell.key(weights))
    for key in store.keys("models", "") if digests else ():
        with suppress(MibenchError):
            if store.meta("models", key)["digest"] in digests:
                names["models"].add(key)
    return names


def _add(names: dict[str, set[str]], digests: set[str], record: Record) -> None:
    """Add the artifacts of a record: its model and its scores or samples; its shadow models by digest."""
    names["models"].add(record.model.key)
    for kind in ("scores", "samples"):
        names[kind].add(record.key)
    digests.update(record.model.shadows or ())


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    with suppress(OSError):
        return sum(part.lstat().st_size for part in (path.rglob("*") if path.is_dir() else (path,)))
    return 0


def _age(path: Path) -> float:
    """Seconds since a file or folder was last changed."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0
