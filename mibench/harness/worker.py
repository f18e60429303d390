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

import torch

from mibench.errors import MibenchError
from mibench.harness.cells import cell_from
from mibench.harness.jobs import make_model, measure
from mibench.harness.store import Store
from mibench.plugins import load

__all__ = ["main"]


def main(job: dict[str, Any], pipe: Connection) -> None:
    """Run one job and answer ``{"record": …}``, ``{"made": true}`` or ``{"failed": "one line"}``."""
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    log = open(job["log"], "w", buffering=1)  # noqa: SIM115 - it stays open for the life of the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    torch.set_num_threads(1)
    try:
        answer = _run(job, lambda done, total: _send(pipe, {"progress": [done, total]}))
    except MibenchError as error:
        answer = {"failed": str(error)}
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())[:240]
        answer = {"failed": f"{text} (traceback in {job['log']})"}
    _send(pipe, answer)


def _run(job: dict[str, Any], progress: Any) -> dict[str, Any]:
    cell = cell_from(load(tuple(job["plugins"])), job)
    store = Store(Path(job["store"]))
    if job["kind"] == "model":
        make_model(cell, store, job["device"], progress)
        return {"made": True}
    return {"record": measure(cell, store, job["device"], progress).model_dump(mode="json")}


def _send(pipe: Connection, message: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(message).encode())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
