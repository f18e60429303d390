"""All records as one pandas frame: a row for each record, a column for each figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mibench.results.figures import AttackMetrics, Distances
from mibench.results.folder import read_folder
from mibench.results.record import Record
from mibench.suite.suite import all_suites, load_suite, suite_name

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["CHOICES", "COLUMNS", "FPRS", "frame_of", "records", "rows_of"]

CHOICES = ("published", "calibrated", "oracle")
"""The settings at which an attack is reported."""

FPRS = ("0.001", "0.01", "0.1")
"""The false positive rates at which a TPR is reported, the strictest first."""

COLUMNS = {
    "suite": "name of the suite, such as images/small",
    "dataset": "label, such as digits:members=200",
    "defense": "label, such as hold3",
    "attack": "label, such as pia:p=2; 'utility' in the rows that measure a model's samples",
    "seed": "of split, training and noise",
    "model_kind": "trained, exact (the optimal model of the members) or fresh (that of data that nobody attacks)",
    "checkpoint": "training step after which the model was measured, 0 for the end",
    "status": "done, n/a, failed or outdated",
    "reason": "why a cell does not apply, or failed",
    "tier": "what the attacker needs: samples, network, weights, shadows, or data (no model at all)",
    "adaptive": "whether the attack was made for this kind of defense",
    **{
        f"{choice}_{part}": f"{what} at the {choice} setting"
        for choice in CHOICES
        for part, what in (
            ("setting", "name of the setting"),
            ("auroc", "AUROC"),
            ("auroc_low", "lower end of the 95 % interval of the AUROC"),
            ("auroc_high", "upper end of the 95 % interval of the AUROC"),
        )
    },
    **{f"tpr_at_{fpr}": f"largest TPR at an FPR of at most {fpr}, calibrated setting" for fpr in FPRS},
    "accuracy": "balanced accuracy at the threshold that is best on the calibration samples",
    "tpr": "true positive rate at that threshold",
    "fpr": "false positive rate at that threshold",
    "epsilon": "lower bound at 95 % on the ε of pure differential privacy that follows from these two rates",
    "evaluated_members": "members that the attack was evaluated on",
    "evaluated_nonmembers": "non-members that the attack was evaluated on",
    "samples": "how many samples were drawn from the model",
    "fraction": "(fd − fd_copies) / (fd_gauss − fd_copies); missing where fd_gauss − fd_copies is not above fd_null",
    "copied": "share of samples nearer to a member than 99 % of the reference are",
    **{
        f"{prefix}{part}": f"{what}{of}"
        for prefix, of in (("", ""), ("inception_", ", with Inception features"))
        for part, what in (
            ("space", "feature space of the distances"),
            ("fd", "Fréchet distance of the samples to the reference"),
            ("kid", "kernel distance of the samples to the reference"),
            ("fd_null", "Fréchet distance between two halves of the reference"),
            ("fd_copies", "Fréchet distance of resampled members"),
            ("fd_gauss", "Fréchet distance of a Gaussian with the members' mean and covariance"),
        )
    },
    "members": "members in the split",
    "nonmembers": "non-members in the split",
    "reference": "reference samples in the split",
    "near_duplicates": "non-members that nearly equal a member",
    "model_key": "identifies the model",
    "steps": "training steps",
    "epochs_per_member": "how often training has drawn each member, on average",
    "member_loss": "loss on members",
    "heldout_loss": "loss on held-out samples",
    "training_seconds": "wall time of training",
    "forwards": "network evaluations of the attack for each scored sample",
    "vjps": "vector–Jacobian products of the attack for each scored sample",
    "shadow_forwards": "network evaluations of shadow models for each scored sample",
    "shadow_vjps": "vector–Jacobian products of shadow models for each scored sample",
    "fit_forwards": "network evaluations in all before the first sample was scored",
    "fit_vjps": "vector–Jacobian products in all before the first sample was scored",
    "seconds": "wall time of the cell, without training",
    "key": "identifies the cell",
    "path": "the record's file, relative to the suite's folder",
    "record": "the Record itself, with ranks, provenance and every other field",
}
"""The columns of ``records`` and what they mean. Where a record has no such figure, the value is NaN."""


def records(*suites: str | Path) -> DataFrame:
    """Every record of these suites as one frame, a row per record; see ``COLUMNS`` for the columns.

    Args:
        suites: names under ``leaderboards/``, folders, or suite files; every suite under ``leaderboards/`` by default.

    Raises:
        UsageError: for an unknown suite.
        MibenchError: where a record cannot be read.
    """
    import pandas as pd

    folders = [load_suite(str(suite)).folder for suite in suites or all_suites()]
    frames = [frame_of(read_folder(folder), folder) for folder in folders]
    return pd.concat(frames, ignore_index=True).infer_objects() if frames else frame_of([], Path())


def frame_of(found: list[tuple[Path, Record]], folder: Path) -> DataFrame:
    """The frame of records that were read from a suite's folder."""
    import pandas as pd

    rows = [row | {"record": record} for row, (_, record) in zip(_rows(found, folder), found, strict=True)]
    names = dict.fromkeys(COLUMNS) | dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(rows, columns=list(names))


def rows_of(found: list[tuple[Path, Record]], folder: Path) -> list[dict[str, Any]]:
    """The same rows as plain values, every one with all ``COLUMNS`` but the record; None where it has no such figure."""
    names = [name for name in COLUMNS if name != "record"]
    return [dict.fromkeys(names) | row for row in _rows(found, folder)]


def _rows(found: list[tuple[Path, Record]], folder: Path) -> list[dict[str, Any]]:
    """What each record has of the columns."""
    suite = suite_name(folder)
    return [{"suite": suite, **_row(record), "path": str(path.relative_to(folder))} for path, record in found]


def _row(record: Record) -> dict[str, Any]:
    """The figures of one record by their column."""
    cell, model = record.cell, record.model
    row: dict[str, Any] = {**record.labels, "seed": cell.seed, "model_kind": cell.model, "checkpoint": cell.checkpoint}
    row |= {name: getattr(record, name) for name in ("status", "reason", "seconds", "key")}
    row |= {"model_key": model.key, "training_seconds": model.seconds}
    row |= {name: getattr(model, name) for name in ("steps", "epochs_per_member", "member_loss", "heldout_loss")}
    if record.split:
        row |= {name: getattr(record.split, name) for name in ("members", "nonmembers", "reference", "near_duplicates")}
    if record.cost:
        row |= record.cost.model_dump()
    if record.attack:
        row |= _attack(record.attack)
    if utility := record.utility:
        row |= {"samples": utility.n, "copied": utility.copied, **_distances(utility)}
        row |= {"fraction": utility.fraction} if utility.has_scale else {}
        if utility.inception:
            row |= {f"inception_{name}": value for name, value in _distances(utility.inception).items()}
    return row


def _attack(metrics: AttackMetrics) -> dict[str, Any]:
    fixed = metrics.calibrated.fixed
    row: dict[str, Any] = {
        "tier": metrics.tier,
        "adaptive": metrics.adaptive,
        "accuracy": fixed.accuracy.value,
        "tpr": fixed.tpr,
        "fpr": fixed.fpr,
        "epsilon": fixed.epsilon,
        "evaluated_members": metrics.members,
        "evaluated_nonmembers": metrics.nonmembers,
    }
    for choice in CHOICES:
        setting = getattr(metrics, choice)
        low, high = setting.auroc.interval or (None, None)
        row |= {f"{choice}_setting": setting.setting, f"{choice}_auroc": setting.auroc.value}
        row |= {f"{choice}_auroc_low": low, f"{choice}_auroc_high": high}
    return row | {f"tpr_at_{fpr}": estimate.value for fpr, estimate in metrics.calibrated.tpr.items()}


def _distances(found: Distances) -> dict[str, Any]:
    """Distances in one feature space."""
    return {
        "space": found.space,
        "fd": found.distance,
        "kid": found.kid,
        "fd_null": found.null,
        "fd_copies": found.copies,
        "fd_gauss": found.gauss,
    }
