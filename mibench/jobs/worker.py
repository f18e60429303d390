"""The worker: runs one job in a process of its own, under its guard, and reports to the driver through a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import traceback
from collections.abc import Callable

import torch

from mibench.errors import MibenchError, one_line
from mibench.evaluate.backends import set_backends
from mibench.evaluate.measure import measure
from mibench.evaluate.report import Report
from mibench.evaluate.trainings import make_models
from mibench.jobs.messages import Begin, Done, Ended, Failed, JobSpec, Message, Progress, Say, encode
from mibench.plugins import installed, load
from mibench.results.store import Store

__all__ = ["main"]

for _entry, _package, _ in installed():  # bundled plugins are imported once, before the workers are forked
    if _package == "mibench":
        with contextlib.suppress(Exception):  # each job reports the error itself
            _entry.load()
installed.cache_clear()  # a package may be installed before a worker is forked


def main(job: JobSpec, pipe: int) -> None:
    """Run one job; the last message is ``Ended``.

    Args:
        job: what to do.
        pipe: file descriptor that takes the messages.
    """
    worker = os.getpid()

    def send(message: Message) -> None:
        raw = encode(message)
        while raw and os.getpid() == worker:  # processes that a plugin forks stay silent
            raw = raw[os.write(pipe, raw) :]

    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    set_backends(job.device)
    try:
        _run(job, send)
        end = Ended()
    except BaseException as error:
        end = Ended(error=_describe(error), out_of_memory=_is_memory_error(error))
    send(end)


def _run(job: JobSpec, send: Callable[[Message], None]) -> None:
    registry, store = load(job.plugins), Store(job.store)
    cells = [spec.cell(registry) for spec in job.cells]

    def fail(index: int, error: Exception) -> None:
        send(Failed(cell_index=index, reason=_describe(error), out_of_memory=_is_memory_error(error)))

    report = Report(
        begin=lambda index: send(Begin(cell_index=index)),
        done=lambda index, record: send(Done(cell_index=index, record=record)),
        failed=fail,
        progress=lambda done, total: send(Progress(done=done, total=total)),
        say=lambda text: send(Say(text=text)),
    )
    if job.kind == "models":
        make_models(cells, store, job.device, report)
    else:
        measure(cells, store, job.device, report)


def _is_memory_error(error: BaseException) -> bool:
    """Whether memory ran out; frees the GPU memory that a failed allocation left behind."""
    if _is_gpu_memory_error(error):
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
        return True
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _is_gpu_memory_error(error: BaseException) -> bool:
    """Whether memory of a GPU ran out: of torch's allocator, of the driver, or of a library such as cuBLAS and cuDNN."""
    text = str(error)
    said = "CUDA error: out of memory" in text or "_STATUS_ALLOC_FAILED" in text
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and said)


def _describe(error: BaseException) -> str:
    """One line on an error; the traceback of an unexpected one is printed, so that the log has it."""
    if isinstance(error, MibenchError):
        return one_line(error)
    traceback.print_exception(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r})"
    elif _is_gpu_memory_error(error):
        text = f"out of GPU memory: {text}"
    elif _is_memory_error(error):
        text = f"out of memory: {text}"
    return one_line(text[:200])
