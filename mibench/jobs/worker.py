"""One job in a process of its own, under its guard: what it prints is kept, what it has to tell goes through a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mibench.errors import MibenchError, one_line
from mibench.evaluate.backends import set_backends
from mibench.evaluate.measure import measure
from mibench.evaluate.report import Report
from mibench.evaluate.trainings import make_models
from mibench.plugins import installed, load
from mibench.results.store import Store
from mibench.suite.cells import CellSpec

__all__ = ["main"]

for _entry, _package, _ in installed():  # every job is forked from here: what comes with mibench is imported once
    if _package == "mibench":
        with contextlib.suppress(Exception):  # each job says it for itself
            _entry.load()


def main(job: dict[str, Any], pipe: int) -> None:
    """Run one job: one message a line as in ``Report``, and ``{"end": "one line, or nothing"}`` as the last.

    Args:
        job: "cells" as ``CellSpec``, "kind" ("models" or "measure"), "device", "plugins", "store".
        pipe: a file descriptor.
    """
    own = os.getpid()

    def send(message: dict[str, Any]) -> None:
        raw = json.dumps(message).encode() + b"\n"
        while raw and os.getpid() == own:  # what a plugin forks does not speak for the job
            raw = raw[os.write(pipe, raw) :]

    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    set_backends(job["device"])
    try:
        _run(job, send)
        end: dict[str, Any] = {"end": ""}
    except BaseException as error:
        end = {"end": _line(error), "memory": _memory(error)}
    send(end)


def _run(job: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    registry = load(tuple(job["plugins"]))
    cells = [CellSpec.model_validate(cell).cell(registry) for cell in job["cells"]]
    store = Store(Path(job["store"]))
    report = Report(
        begin=lambda place: send({"begin": place}),
        done=lambda place, record: send({"place": place, "record": record.model_dump(mode="json")}),
        failed=lambda place, error: send({"place": place, "failed": _line(error), "memory": _memory(error)}),
        progress=lambda done, total: send({"progress": [done, total]}),
        say=lambda text: send({"say": text}),
    )
    if job["kind"] == "models":
        make_models(cells, store, job["device"], report)
    else:
        measure(cells, store, job["device"], report)


def _memory(error: BaseException) -> bool:
    """Whether memory did not suffice; what a failed allocation has kept is given back."""
    if isinstance(error, torch.OutOfMemoryError):
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _line(error: BaseException) -> str:
    """One line on what went wrong; the traceback of what was not foreseen goes to the log."""
    if isinstance(error, MibenchError):
        return one_line(error)
    traceback.print_exception(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r})"[:200]
    elif isinstance(error, torch.OutOfMemoryError):
        text = f"the GPU's memory does not suffice: {text}"[:200]
    elif _memory(error):
        text = f"memory does not suffice: {text}"[:200]
    return one_line(text)
