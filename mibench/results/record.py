"""The record: one cell's result as a small JSON file that traces every number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mibench.errors import MibenchError, UsageError
from mibench.files import sha256, write_text
from mibench.metrics.headings import heading
from mibench.results.facts import CellFacts, CostFacts, Environment, ModelFacts, SplitFacts, Strict, optional
from mibench.results.figures import METRICS, AttackMetrics, AuditMetrics, UtilityMetrics

__all__ = [
    "FORMAT",
    "REMEDY",
    "Record",
    "canonical",
    "digest_of",
    "metrics_version",
    "parse_record",
    "read_json",
    "read_named_record",
    "read_record",
    "record_path",
    "title_of",
    "unreadable",
    "write_record",
]

FORMAT = 1
REMEDY = "delete it and run the suite again"
FOREIGN = "is no record of mibench; a folder records/ holds nothing else, so move it elsewhere"

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


def title_of(labels: dict[str, str], seed: int, model: str, checkpoint: int = 0) -> str:
    """One line that names a cell, or a model if there is no label of an attack."""
    kind = "" if model == "trained" else f" · {model} model"
    step = f" · step {checkpoint}" if checkpoint else ""
    return " · ".join(labels.values()) + f" · seed {seed}{kind}{step}"


class Record(Strict):
    """One cell's result. Its text form is one line: the cell, the status, and the main figure.

    Attributes:
        format: of this file; it is raised when older versions of mibench could not read it.
        key: identifies the cell, ``mibench.suite.cells.Cell.key``.
        status: "done" with the figures of an attack or of the samples; "n/a" where the attack cannot work on this model;
            "failed"; "outdated" where ``read_record`` leaves out figures of older metrics, never in a file.
        reason: why there are no figures.
        labels: the names of dataset, defense and attack ("utility" for samples), as on the command line.
        cell: the components, the seed and the recipe.
        model: the model under attack. If it could not be made it has no digest, and ``key`` is computed without one.
        split: the sizes of members, non-members and reference; None where the cell failed.
        cost: how often the network was evaluated; None where the cell failed.
        environment: where it was computed; None where the cell failed.
        attack: privacy; None in the record of a model's samples and of an audit.
        audit: a lower bound on ε from canaries; None but in the record of an audit.
        utility: how good the model's samples are; None in the record of an attack or an audit.
        code: digest of the source of dataset, defense and attack (``mibench.source.code_digest``); older records have none.
        packages: name and version of the package of each, or name and digest of a loose file; older records have none.
        seconds: that the cell took, training excepted.
        digest: sha256 of everything else in the record.
    """

    format: Literal[1] = 1
    key: str
    status: Literal["done", "n/a", "failed", "outdated"]
    reason: str | None = None
    labels: dict[Kind, str] = Field(min_length=3)
    cell: CellFacts
    split: SplitFacts | None = optional()
    model: ModelFacts
    attack: AttackMetrics | None = None
    audit: AuditMetrics | None = optional()
    utility: UtilityMetrics | None = None
    cost: CostFacts | None = optional()
    environment: Environment | None = optional()
    code: dict[Kind, str] = optional({})
    packages: dict[Kind, str] = optional({})
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
        figures = self.attack or self.audit if self.cell.attack else self.utility
        if self.status == "done" and figures is None:
            missing.append("attack" if self.cell.attack else "utility")
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return self

    @property
    def title(self) -> str:
        """One line that names the cell, as ``mibench run`` prints it."""
        labels = {kind: self.labels[kind] for kind in ("dataset", "defense", "attack")}
        return title_of(labels, self.cell.seed, self.cell.model, self.cell.checkpoint)

    def headline(self) -> str:
        """The AUROC at the calibrated setting, the bound of an audit, or the Fréchet distance of the samples.

        Else the status and its reason.
        """
        if self.attack:
            best = self.attack.calibrated
            low, high = best.auroc.interval or (float("nan"), float("nan"))
            return f"AUROC {best.auroc.value:.3f} [{low:.3f}, {high:.3f}] at {best.setting} (calibrated)"
        if found := self.audit:
            return f"ε ≥ {found.epsilon:.2f} ({found.correct} of {found.guesses} guesses right at {found.setting})"
        if self.utility:
            return f"{heading(self.utility.space)} ({self.utility.space}) {self.utility.distance:.4g}"
        return f"{self.status} ({self.reason})"

    def __repr__(self) -> str:
        status = f"{self.status}, " if self.attack or self.audit or self.utility else ""
        return f"<Record {self.title}: {status}{self.headline()}>"

    __str__ = __repr__

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


def read_record(path: Path, outdated: bool = False) -> Record:
    """Read and check a record.

    Args:
        path: of its file.
        outdated: whether a record of older metrics is given too, with the status "outdated" and without its figures.

    Raises:
        MibenchError: where it is no record, was edited since it was written, is outdated, or was written by a newer mibench.
    """
    raw, content = read_json(path)
    if (version := metrics_version(raw)) < METRICS:
        reason = f"its metrics are of version {version} and not {METRICS}; run `mibench upgrade`"
        if not outdated:
            raise MibenchError(f"{path} is outdated: {reason}")
        content = json.dumps(raw | {"attack": None, "status": "outdated", "reason": reason}).encode()
    elif raw.get("status") == "failed":  # old ones have empty parts
        content = json.dumps({name: part for name, part in raw.items() if part != {}}).encode()
    return parse_record(content, path)


def read_named_record(path: Path) -> Record:
    """The record of a file that a user names; as ``read_record``, and a UsageError where there is no such file."""
    if not path.is_file():
        raise UsageError(f"there is no record {path}; give the path of its file")
    return read_record(path)


def unreadable(reasons: list[str]) -> MibenchError:
    """What is raised where records of a suite cannot be read: the first reason, and how many there are."""
    more = f" ({len(reasons)} such files; `mibench validate` names all)" if len(reasons) > 1 else ""
    return MibenchError(reasons[0] + more)


def read_json(path: Path) -> tuple[dict[str, Any], bytes]:
    """The content of a record of any version so far, after its digest was checked, parsed and as bytes.

    Raises:
        MibenchError: where it is no record, was edited since it was written, or was written by a newer mibench.
    """
    try:
        content = path.read_bytes()
        raw = json.loads(content)
        if not isinstance(raw, dict):
            raise ValueError("it is no JSON object")
        if not raw.keys() & {"key", "labels", "cell"} and not _is_named_so(path):
            raise MibenchError(f"{path} {FOREIGN}")
        newer = _larger(raw.get("format"), FORMAT) or metrics_version(raw) > METRICS
        digest = digest_of({name: part for name, part in raw.items() if name != "digest"})
        if "digest" not in raw and not newer:
            raise ValueError("it lacks digest")
    except OSError as error:
        raise MibenchError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        if not _is_named_so(path):
            raise MibenchError(f"{path} {FOREIGN}") from None
        what = "it is no JSON: " if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) else ""
        raise MibenchError(f"{path} is not a valid record: {what}{str(error)[:120]}; {REMEDY}") from None
    if newer:
        raise MibenchError(f"{path} was written by a newer mibench; upgrade this one to read it")
    if raw["digest"] != digest:
        raise MibenchError(f"{path} was edited after it was written (its digest differs); {REMEDY}")
    return raw, content


def metrics_version(raw: dict[str, Any]) -> int:
    """The version of the metrics of a record's content; the present one where it has none."""
    attack = raw.get("attack")
    version = attack.get("version", 1) if isinstance(attack, dict) else METRICS
    return version if type(version) is int else METRICS


def parse_record(content: bytes, path: Path) -> Record:
    """A record of the present version from its JSON.

    Args:
        content: of the file.
        path: of the file, to name it.

    Raises:
        MibenchError: where something is missing or of another type.
    """
    try:
        return Record.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise MibenchError(f"{path} is not a valid record: {_first_error(error)[:120]}; {REMEDY}") from None


def _is_named_so(path: Path) -> bool:
    """Whether a file has the name of a record (``record_path``)."""
    return re.search(r"-s[0-9]+\.json$", path.name) is not None


def _larger(one: Any, other: int) -> bool:
    return type(one) is int and one > other


def _first_error(error: ValidationError) -> str:
    """What is missing in a record or, where nothing is, the first thing that is wrong."""
    errors = error.errors(include_input=False, include_url=False)
    places = [".".join(str(part) for part in one["loc"])[:60] for one in errors]
    if missing := [place for place, one in zip(places, errors, strict=True) if one["type"] == "missing"]:
        return f"it lacks {', '.join(missing)}"
    what = errors[0]["msg"].removeprefix("Value error, ")
    return f"{places[0]}: {what}" if places[0] else what
