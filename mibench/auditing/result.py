"""The result of an audit: what ``audit.json`` holds, and the files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from mibench.errors import UsageError
from mibench.kinds import Tier
from mibench.results.record import Record, read_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AttackRow", "Audit", "Leak", "SetLevel", "SplitRow"]


class Part(BaseModel):
    """A part of ``audit.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitRow(Part):
    """A baseline that never sees the model.

    Attributes:
        baseline: its name, such as "blind:features=spectrum".
        auroc, interval: on the evaluated files; None where it could not be computed.
        tells: whether it tells members from non-members, at 1 % over all baselines.
        reason: why there are no figures.
    """

    baseline: str
    auroc: float | None
    interval: tuple[float, float] | None = None
    tells: bool = False
    reason: str | None = None


class AttackRow(Part):
    """One attack on the model, at the setting that was chosen on the calibration split.

    Attributes:
        attack, tier, setting: its name, what the attacker must have, and its setting.
        auroc, interval: on the evaluated files, with its 95 % interval.
        wide_interval: the interval that holds for the largest AUROC of all attacks.
        tpr: true positive rate and its interval by false positive rate.
        calibration: the AUROC on the calibration split.
        forwards, vjps: evaluations per file.
        seconds: that it took.
        key: of its record.
        exact, fresh: its AUROC on the controls: the optimal model of the members, and that of other data.
    """

    attack: str
    tier: Tier
    setting: str
    auroc: float
    interval: tuple[float, float]
    wide_interval: tuple[float, float]
    tpr: dict[str, tuple[float | None, tuple[float, float] | None]]
    calibration: float
    forwards: float
    vjps: float
    seconds: float
    key: str
    exact: float | None = None
    fresh: float | None = None


class SetLevel(Part):
    """Whether the members were trained on, as a set.

    Attributes:
        attack: whose scores are tested, the best one on the calibration split.
        p_value: that members score no higher than non-members (Mann and Whitney, one-sided).
        files: evaluated members.
        needed: how many members a test needs to reach p < .01 in 95 % of draws; None where all do not suffice.
        most: how many there are on the smaller side.
    """

    attack: str
    p_value: float
    files: int
    needed: int | None
    most: int


class Leak(Part):
    """A file that the worst known attack takes for a member.

    Attributes:
        file: its name.
        score: of the attack.
        above: share of evaluated non-members with a lower score.
        distance: to the nearest sample of the model, root mean square per value; None where none were drawn.
    """

    file: str
    score: float
    above: float
    distance: float | None = None


class Audit(Part):
    """An audit of a model.

    Attributes:
        headline: the result in one sentence or two.
        verdict: "split" where the files alone tell the sides apart, so that no AUROC is evidence; "leaks" or "nothing found".
        model: what was loaded: its title, digest, schedule, prediction, shape, parameters.
        files: how many of each side, and where from.
        loading: what the loading check measured.
        split: the split check.
        attacks: the attacks, the strongest first.
        worst: the name of the worst known attack.
        set_level: about the members as a set.
        leaks: the files that leak most.
        not_applicable: why an attack has no figures.
        warnings: what a reader must know besides.
        environment: where it was computed.
        seconds: that it took.
    """

    headline: str
    verdict: Literal["split", "leaks", "nothing found"]
    model: dict[str, Any]
    files: dict[str, Any]
    loading: dict[str, Any]
    split: tuple[SplitRow, ...]
    attacks: tuple[AttackRow, ...]
    worst: str
    set_level: SetLevel
    leaks: tuple[Leak, ...]
    not_applicable: dict[str, str]
    warnings: tuple[str, ...]
    environment: dict[str, Any]
    seconds: float

    _folder: Path = PrivateAttr(Path())

    @classmethod
    def read(cls, folder: Path) -> Audit:
        """The audit in a folder; UsageError where there is none."""
        try:
            made = cls.model_validate_json((folder / "audit.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise UsageError(f"{folder} holds no audit: {str(error).splitlines()[0]}") from None
        made._folder = folder
        return made

    @property
    def folder(self) -> Path:
        """Where report.html, report.md, scores.csv and records/ are."""
        return self._folder

    @property
    def records(self) -> list[Record]:
        """The record of each attack, controls included."""
        return [read_record(path) for path in sorted((self._folder / "records").rglob("*.json"))]

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each file: its name, its side, its part, and its score by each attack."""
        import pandas

        return pandas.read_csv(self._folder / "scores.csv")

    def __repr__(self) -> str:
        return f"<Audit {self.model.get('title', '')}: {self.headline}>"

    __str__ = __repr__
