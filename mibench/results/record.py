"""The record: one cell's result as a small JSON file that traces every number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mibench.errors import MibenchError
from mibench.files import sha256, write_text
from mibench.results.facts import CellFacts, CostFacts, Environment, ModelFacts, SplitFacts, Strict, optional
from mibench.results.figures import METRICS, AttackMetrics, UtilityMetrics

__all__ = ["FORMAT", "OutdatedError", "Record", "canonical", "digest_of", "read_record", "record_path", "write_record"]

FORMAT = 1

Kind = Annotated[str, Field(pattern="^(dataset|defense|attack)$")]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return sha256(canonical(value).encode())


def record_path(labels: dict[str, str], seed: int, model: str, checkpoint: int = 0) -> str:
    """Where a record lies in a suite's folder of records, as ``<dataset>/<defense>/<attack>-s<seed>.json``."""
    kind = ("" if model == "trained" else f"-{model}") + (f"-at{checkpoint}" if checkpoint else "")
    names = [labels[kind] for kind in ("dataset", "defense", "attack")]
    safe = ["".join(c if c.isalnum() or c in "-." else "_" for c in name) for name in names]
    return f"{'/'.join(safe)}{kind}-s{seed}.json"


class Record(Strict):
    """One cell's result.

    Attributes:
        key: identifies the cell, ``mibench.suite.cells.Cell.key``.
        status: "done" with the figures of an attack or of the samples; "n/a" where the attack cannot work on this model;
            "failed".
        reason: why there are no figures.
        labels: the names of dataset, defense and attack ("utility" for samples), as on the command line.
        cell, model: what the cell was. A model that could not be made has no digest, and the key is that of no weights.
        split, cost, environment: of every cell that has not failed.
        attack, utility: the figures.
        code: digest of the source of dataset, defense and attack (``mibench.plugins.code_digest``); older records have none.
        seconds: that the cell took, training excepted.
        digest: of everything else in the record.
    """

    format: Literal[1] = 1
    key: str
    status: Literal["done", "n/a", "failed"]
    reason: str | None = None
    labels: dict[Kind, str] = Field(min_length=3)
    cell: CellFacts
    split: SplitFacts | None = optional()
    model: ModelFacts
    attack: AttackMetrics | None = None
    utility: UtilityMetrics | None = None
    cost: CostFacts | None = optional()
    environment: Environment | None = optional()
    code: dict[Kind, str] = optional({})
    seconds: float
    digest: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        missing = []
        if self.status != "failed":
            missing = [name for name in ("split", "cost", "environment") if getattr(self, name) is None]
            missing += [] if self.model.digest else ["model.digest"]
        if self.status != "done" and not self.reason:
            missing.append("reason")
        figures = "attack" if self.cell.attack else "utility"
        if self.status == "done" and getattr(self, figures) is None:
            missing.append(figures)
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return self

    def sealed(self) -> Record:
        """The same record with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """What ``digest`` must be."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))


def write_record(path: Path, record: Record) -> None:
    """Write a record, readable and with a stable order of keys."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


class OutdatedError(MibenchError):
    """A record was made by an older mibench, whose metrics were others."""


def read_record(path: Path) -> Record:
    """Read and check a record.

    Raises:
        OutdatedError: where an older version of the metrics made it.
        MibenchError: where it is no record, was edited since it was written, or was written by a newer mibench.
    """
    remedy = "delete it and run the suite again"
    try:
        content = path.read_bytes()
        raw = json.loads(content)
        _check_versions(path, raw)
        if (
            isinstance(raw, dict) and raw.get("status") == "failed"
        ):  # at first these had empty parts, now they have none
            content = json.dumps({name: part for name, part in raw.items() if part != {}}).encode()
        record = Record.model_validate_json(content, strict=True)
        sound = raw.pop("digest", "") == digest_of(raw)
    except OSError as error:
        raise MibenchError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        what = _first_error(error) if isinstance(error, ValidationError) else str(error)
        raise MibenchError(f"{path} is not a valid record: {what[:120]}; {remedy}") from None
    if not sound:
        raise MibenchError(f"{path} was edited after it was written (its digest differs); {remedy}")
    return record


def _check_versions(path: Path, raw: Any) -> None:
    """Tell what other versions wrote from what nobody wrote."""
    attack = raw.get("attack") if isinstance(raw, dict) else None
    version = attack.get("version", 1) if isinstance(attack, dict) else METRICS
    if _larger(raw.get("format") if isinstance(raw, dict) else FORMAT, FORMAT) or _larger(version, METRICS):
        raise MibenchError(f"{path} was written by a newer mibench; upgrade this one to read it")
    if _larger(METRICS, version):
        raise OutdatedError(
            f"{path} has metrics of version {version} and not {METRICS}; run the suite again, which takes its stored scores"
        )


def _larger(one: Any, other: Any) -> bool:
    """Whether both are whole numbers, and the first is larger."""
    return type(one) is int and type(other) is int and one > other


def _first_error(error: ValidationError) -> str:
    """What is missing in a record or, where nothing is, the first thing that is wrong."""
    errors = error.errors(include_input=False, include_url=False)
    places = [".".join(str(part) for part in one["loc"])[:60] for one in errors]
    if missing := [place for place, one in zip(places, errors, strict=True) if one["type"] == "missing"]:
        return f"it lacks {', '.join(missing)}"
    what = errors[0]["msg"].removeprefix("Value error, ")
    return f"{places[0]}: {what}" if places[0] else what
