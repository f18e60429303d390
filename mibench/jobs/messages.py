"""What a driver sends to a job, and everything that a job may say to its driver.

The driver gives a ``JobSpec`` to an engine. The engine starts a guard, and the guard starts the worker that does the job. The
worker writes messages into a pipe, one JSON object a line; the guard reads them and passes them on to the driver:

    Begin, Progress and Say at any time (Begin again whenever the worker turns to another cell); one Done or Failed for each
    cell; Ended as the last message. Where the guard itself is gone, the engine puts Lost in its place.

A job that makes models says no ``Begin`` or ``Done``: the models that it has stored are its result. It says ``Failed`` of those
that cannot be trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mibench.results.record import Record
from mibench.suite.cells import CellSpec

__all__ = [
    "Begin",
    "Done",
    "Ended",
    "Failed",
    "JobKind",
    "JobSpec",
    "Lost",
    "Message",
    "Progress",
    "Say",
    "decode",
    "encode",
]

JobKind = Literal["models", "measure"]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobSpec(_Plain):
    """One job: models to make and store, or cells of one model to measure.

    Attributes:
        device: "cpu" or "cuda".
        plugins: absolute paths of loose plugin files.
        store: folder of the artifacts.
        log: file that takes what the job prints.
        titles: the first lines of the log, by which ``mibench log`` finds it.
        time_limit: seconds for each cell, or for all models; None for no limit.
        environment: all environment variables of the worker; the engine fills them in.
    """

    kind: JobKind
    cells: tuple[CellSpec, ...]
    device: str
    store: Path
    log: Path
    plugins: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    time_limit: float | None = None
    environment: dict[str, str] = {}


class Begin(_Plain):
    """From now on the worker computes this cell; if the process dies, this cell is the suspect."""

    kind: Literal["begin"] = "begin"
    cell_index: int


class Progress(_Plain):
    """Steps done, of all steps of the job."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int


class Say(_Plain):
    """A line for whoever watches the run."""

    kind: Literal["say"] = "say"
    text: str


class Done(_Plain):
    """The record of a cell."""

    kind: Literal["done"] = "done"
    cell_index: int
    record: Record


class Failed(_Plain):
    """A cell raised an error; ``reason`` is one line. Where the error was not foreseen, the log has the traceback."""

    kind: Literal["failed"] = "failed"
    cell_index: int
    reason: str
    out_of_memory: bool = False


class Ended(_Plain):
    """The last message of a job.

    Attributes:
        error: one line on what ended the whole job early; "" if nothing did.
        out_of_memory: whether that was a lack of memory.
        killed: whether the worker received SIGKILL from another process; the guard fills this in.
        memory_used: the most bytes that the worker has held; the guard fills this in.
    """

    kind: Literal["ended"] = "ended"
    error: str = ""
    out_of_memory: bool = False
    killed: bool = False
    memory_used: int = 0


class Lost(_Plain):
    """Sent by the engine in place of ``Ended`` where the guard itself, or its machine, is gone."""

    kind: Literal["lost"] = "lost"
    reason: str


Message = Begin | Progress | Say | Done | Failed | Ended | Lost

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def encode(message: Message) -> bytes:
    """A message as one line of JSON."""
    return message.model_dump_json().encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message in one line of JSON.

    Raises:
        ValueError: it is not one of the messages above.
    """
    return _ADAPTER.validate_json(line)
