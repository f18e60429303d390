"""Records of older metrics, brought to the present ones from the ranks and counts that they store.

No scores, model or plugin is needed. Records without ranks cannot be upgraded; the suite must be run again for these.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mibench.errors import MibenchError
from mibench.results.figures import CHANGES, METRICS, AttackMetrics, Estimate, Setting, unpacked
from mibench.results.recompute import counts_above, differences, setting_figures, threshold_figures
from mibench.results.record import Record, metrics_version, parse_record, read_json, read_record, write_record

__all__ = ["Outcome", "upgrade_folder", "upgrade_record"]

AGAIN = "run the suite again"
CHOICES = ("published", "calibrated", "oracle")
STORED = ("ranks", "settings", "members", "nonmembers", *CHOICES, "tier", "adaptive", "scores")


@dataclass
class Outcome:
    """What became of the records of a folder.

    Attributes:
        upgraded: how many were of older metrics and are now of the present ones.
        current: how many were of the present metrics, or hold none.
        left: the others, which stay as they are, by the reason.
    """

    upgraded: int = 0
    current: int = 0
    left: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))


def upgrade_folder(folder: Path, write: bool = True) -> Outcome:
    """Upgrade all records of a suite.

    Args:
        folder: of the suite.
        write: False to count only.

    Raises:
        MibenchError: where a record cannot be written.
    """
    outcome = Outcome()
    for path in sorted((folder / "records").rglob("*.json")):
        try:
            record = upgrade_record(path)
        except MibenchError as error:
            outcome.left[str(error).replace(f"{path} ", "")].append(path)
            continue
        outcome.upgraded += record is not None
        outcome.current += record is None
        if write and record:
            write_record(path, record)
    return outcome


def upgrade_record(path: Path) -> Record | None:
    """The record in a file with the present metrics, not yet written; None where it has them already.

    Raises:
        MibenchError: where it cannot be read or upgraded, with the reason.
    """
    raw, _ = read_json(path)
    version = metrics_version(raw)
    if version >= METRICS:
        read_record(path)
        return None
    missing = [name for name in STORED if name not in raw["attack"]]
    if missing:
        raise MibenchError(f"{path} has metrics of version {version}, which stored no {', '.join(missing)}; {AGAIN}")
    try:
        metrics = _attack_metrics(raw["attack"], version)
        problem = next(differences(metrics), None)
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError, IndexError, ZeroDivisionError):
        problem = "a figure is missing or has the wrong type"
    if problem:
        raise MibenchError(f"{path} has metrics of version {version} that do not fit together ({problem}); {AGAIN}")
    content = json.dumps(raw | {"attack": metrics.model_dump(mode="json")}).encode()
    return parse_record(content, path).sealed()


def _attack_metrics(old: dict[str, Any], version: int) -> AttackMetrics:
    """The present metrics from older ones, as their JSON."""
    m, n = old["members"], old["nonmembers"]
    members, nonmembers = unpacked(old["ranks"][0], m), unpacked(old["ranks"][1], n)
    above = {name: counts_above(old[name]["fixed"]["tpr"], old[name]["fixed"]["fpr"], m, n) for name in CHOICES}
    calibrated = setting_figures(old["calibrated"]["setting"], members, nonmembers, above["calibrated"])
    changed = frozenset[str]().union(*(CHANGES.get(later, ()) for later in range(version + 1, METRICS + 1)))

    def figures(name: str) -> Setting:
        stored = {"auroc": {}, "tpr": {}} | old[name]
        if stored["setting"] == calibrated.setting:
            return calibrated
        area = old["settings"][stored["setting"]][1]
        return Setting(
            setting=stored["setting"],
            auroc=Estimate(value=area, interval=None if "auroc" in changed else stored["auroc"].get("interval")),
            tpr={fpr: rate(fpr, {} if "tpr" in changed else stored["tpr"]) for fpr in calibrated.tpr},
            fixed=threshold_figures(above[name], m, n),
        )

    def rate(fpr: str, stored: dict[str, Any]) -> Estimate:
        if calibrated.tpr[fpr].value is None:  # there are too few non-members, whatever the setting
            return calibrated.tpr[fpr]
        unknown = {"value": None, "reason": f"not stored by metrics version {version}"}
        return Estimate.model_validate(stored.get(fpr, unknown))

    now = {"published": figures("published"), "calibrated": calibrated, "oracle": figures("oracle"), "version": METRICS}
    kept = {name: old[name] for name in (*STORED, "unstable") if name in old}
    return AttackMetrics.model_validate(kept | now)
