"""The child process: one job, its output in a log, its answer through a pipe."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mibench.errors import MibenchError
from mibench.harness.backends import set_backends
from mibench.harness.cells import cell_from
from mibench.harness.measure import Report, measure
from mibench.harness.models import make_models
from mibench.harness.store import Store
from mibench.plugins import load

__all__ = ["main"]


def main(job: dict[str, Any], pipe: Connection) -> None:
    """Run one job: messages through the pipe as in ``Report``, and ``{"end": "one line, or nothing"}`` at its end."""
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    log = open(job["log"], "w", buffering=1)  # noqa: SIM115 - it stays open for the life of the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    set_backends(job["device"])
    try:
        _run(job, pipe)
        end = ""
    except BaseException as error:
        end = _line(error)
    _send(pipe, {"end": end})


def _run(job: dict[str, Any], pipe: Connection) -> None:
    registry = load(tuple(job["plugins"]))
    cells = [cell_from(registry, cell) for cell in job["cells"]]
    store = Store(Path(job["store"]))
    report = Report(
        begin=lambda place: _send(pipe, {"begin": place}),
        done=lambda place, record: _send(pipe, {"place": place, "record": record.model_dump(mode="json")}),
        failed=lambda place, error: _send(pipe, {"place": place, "failed": _line(error)}),
        progress=lambda done, total: _send(pipe, {"progress": [done, total]}),
        say=lambda text: _send(pipe, {"say": text}),
    )
    if job["kind"] == "models":
        make_models(cells, store, job["device"], report.progress, report.say)
    else:
        measure(cells, store, job["device"], report)


def _line(error: BaseException) -> str:
    """One line on what went wrong; the traceback of what was not foreseen goes to the log."""
    if isinstance(error, MibenchError):
        return str(error)
    traceback.print_exception(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:240]


def _send(pipe: Connection, message: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(message).encode())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
