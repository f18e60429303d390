"""The record: one cell's result as a small JSON file that traces every number."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from mibench.errors import MibenchError
from mibench.files import sha256, write_text
from mibench.kinds import Tier

__all__ = [
    "FORMAT",
    "METRICS",
    "Distances",
    "Estimate",
    "OutdatedError",
    "Record",
    "Threshold",
    "canonical",
    "digest_of",
    "packed",
    "read_record",
    "record_path",
    "write_record",
]

FORMAT = 1
METRICS = 3

NUMBER = (int, float)
SHAPES: dict[str, dict[str, Any]] = {
    "cell": {
        "seed": int,
        "model": str,
        "checkpoint": int,
        "recipe": dict,
        "dataset": dict,
        "defense": dict,
        "attack": dict,
    },
    "cell.dataset": {"name": str, "version": int},
    "cell.defense": {"name": str, "version": int},
    "cell.attack": {"name": str, "version": int},
    "model": {
        **dict.fromkeys(("key", "digest", "device"), str),
        **dict.fromkeys(("steps", "together"), int),
        **dict.fromkeys(("epochs_per_member", "member_loss", "heldout_loss", "loss", "seconds"), NUMBER),
        "shadows": list,
    },
    "split": {
        "fingerprint": str,
        **dict.fromkeys(("members", "nonmembers", "reference", "near_duplicates"), int),
        "notes": list,
    },
}
"""The kinds of what readers rely on in the parts of a record that are dicts; what is missing is checked where it is needed."""


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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Estimate(_Strict):
    """A number with its 95 % interval, or null with the reason why it could not be computed."""

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str | None = None


class Threshold(_Strict):
    """What an attack reaches on the evaluation split at the threshold that is best on the calibration split.

    Attributes:
        accuracy: balanced accuracy, (TPR + TNR) / 2.
        tpr, fpr: the realised rates.
        epsilon: lower bound at 95 % on the ε of any (ε, 0)-differentially private training that leaks as much.
    """

    accuracy: Estimate
    tpr: float
    fpr: float
    epsilon: float


class Setting(_Strict):
    """What an attack reaches at one of its settings, on the evaluation split."""

    setting: str
    auroc: Estimate
    tpr: dict[str, Estimate]
    fixed: Threshold


class AttackMetrics(_Strict):
    """Privacy.

    Attributes:
        settings: the AUROC of every setting on the calibration and on the evaluation split.
        published: the setting of the paper.
        calibrated: the setting with the largest AUROC on the calibration split: the headline.
        oracle: the setting with the largest AUROC on the evaluation split, chosen on the samples it is reported on.
        ranks: of members and non-members at the calibrated setting, pooled, on the evaluation split; unsigned 16-bit (32-bit
            where there are more) little-endian numbers in base64. They stand for the scores in every rank statistic.
        tier: what the attacker must have, see ``Attack.tier``.
        adaptive: whether the attack was made for this kind of defense.
        version: of the metrics; a record of an older one is made anew from the stored scores.
    """

    settings: dict[str, tuple[float, float]]
    published: Setting
    calibrated: Setting
    oracle: Setting
    ranks: tuple[str, str]
    tier: Tier
    adaptive: bool
    version: int = METRICS
    members: int
    nonmembers: int
    scores: str = Field(description="sha256 of the raw scores")

    def ranked(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``ranks`` of members and non-members as arrays."""
        return _unpacked(self.ranks[0], self.members), _unpacked(self.ranks[1], self.nonmembers)


def packed(numbers: NDArray[np.int64]) -> str:
    """Ranks as text, see ``AttackMetrics.ranks``."""
    return base64.b64encode(numbers.astype("<u4" if numbers.max(initial=0) > 65535 else "<u2").tobytes()).decode()


def _unpacked(text: str, count: int) -> NDArray[np.int64]:
    raw = base64.b64decode(text)
    return np.frombuffer(raw, "<u2" if len(raw) == 2 * count else "<u4").astype(np.int64)


class Distances(_Strict):
    """Fréchet distances to the reference in one named feature space.

    Attributes:
        distance: of the model's samples.
        copies: of resampled members.
        gauss: of a Gaussian with the members' mean and covariance, clipped to their range.
        null: between two halves of the reference.
        fraction: (distance − copies) / (gauss − copies): 0 for copies of the data, 1 and more for what is no better than a
            Gaussian.
        kid: the kernel distance of the model's samples; None in records from before it was measured.
    """

    space: str
    distance: float
    copies: float
    gauss: float
    null: float
    fraction: float
    kid: float | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not there is left out, so that older records keep their digests."""
        return {name: value for name, value in plain(self).items() if value is not None}


class UtilityMetrics(Distances):
    """Utility, in the feature space of the data's modality, all with ``n`` samples.

    Attributes:
        inception: the same distances with Inception features, for images where their weights were at hand.
        copied: share of samples nearer to a member than all but 1 % of the reference are.
        members_distance: of the model's samples to the members.
    """

    n: int
    reference: int
    inception: Distances | None = None
    copied: float
    members_distance: float
    samples: str = Field(description="sha256 of the samples")


class Record(_Strict):
    """One cell's result. ``digest`` covers everything else; ``key`` what identifies the cell.

    ``cost`` counts forwards and vector–Jacobian products for each scored sample: of the model under attack, with ``shadow_``
    in front of shadow models; with ``fit_`` in front all that the attack asked of both to learn. What is 0 may be left out.

    ``code`` names the source of dataset, defense and attack (``mibench.plugins.code_digest``); older records have none.

    One that failed has its reason, and neither split, cost nor environment; its key is that of no weights where its model
    could not be made.
    """

    format: Literal[1] = 1
    key: str
    status: Literal["done", "n/a", "failed"]
    reason: str | None = None
    labels: dict[str, str]
    cell: dict[str, Any]
    split: dict[str, Any]
    model: dict[str, Any]
    attack: AttackMetrics | None = None
    utility: UtilityMetrics | None = None
    cost: dict[str, float]
    environment: dict[str, Any]
    code: dict[str, str] = {}
    seconds: float
    digest: str = ""

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``code`` where there is none, so that older records keep their digests."""
        told: dict[str, Any] = plain(self)
        return told if told.get("code") else {name: value for name, value in told.items() if name != "code"}

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
    """A record was made by an older mibench, whose metrics were fewer."""


def _versions(path: Path) -> tuple[int, int]:
    """The format of a file that is perhaps no record, and the version of its metrics."""
    try:
        record = json.loads(path.read_bytes())
        attack = record["attack"]
        return int(record["format"]), int(attack.get("version", 1)) if attack else METRICS
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return FORMAT, METRICS


def _newer(path: Path) -> MibenchError:
    return MibenchError(f"{path} was written by a newer mibench; upgrade this one to read it")


def _outdated(path: Path, version: int) -> OutdatedError:
    return OutdatedError(
        f"{path} has metrics of version {version} and not {METRICS}; run the suite again, which takes its stored scores"
    )


def read_record(path: Path) -> Record:
    """Read and check a record.

    Raises:
        OutdatedError: where an older version of the metrics made it.
        MibenchError: where it is no record, was edited since it was written, or was written by a newer mibench.
    """
    remedy = "delete it and run the suite again"
    try:
        record = Record.model_validate_json(path.read_bytes())
        sound = record.digest == record.content_digest()
    except (ValidationError, ValueError, RecursionError) as error:
        found, metrics = _versions(path)
        if found > FORMAT or metrics > METRICS:
            raise _newer(path) from None
        if metrics < METRICS:
            raise _outdated(path, metrics) from None
        what = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])[:60]
            what = f"{where + ': ' if where else ''}{first['msg']}"
        raise MibenchError(f"{path} is not a valid record: {what[:120]}; {remedy}") from None
    except OSError as error:
        raise MibenchError(f"cannot read {path}: {error.strerror}") from None
    if not sound:
        raise MibenchError(f"{path} was edited after it was written (its digest differs); {remedy}")
    if record.attack and record.attack.version != METRICS:
        raise _outdated(path, record.attack.version) if record.attack.version < METRICS else _newer(path)
    if wrong := next(_misshapen(record), None):
        raise MibenchError(f"{path} is not a valid record: {wrong}; {remedy}")
    return record


def _misshapen(record: Record) -> Iterator[str]:
    """What is there in a record but is of another kind than whoever reads it takes it for."""
    for part, kinds in SHAPES.items():
        outer, _, inner = part.partition(".")
        of = getattr(record, outer)
        for name, kind in kinds.items():
            value = ((of.get(inner) or {}) if inner else of).get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                yield f"{part}.{name} is {str(value)[:40]!r}"
