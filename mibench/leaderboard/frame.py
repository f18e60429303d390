"""Records as rows and as a pandas frame: a row for each record, a column for each figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mibench.leaderboard.selection import Selection
from mibench.results.figures import AttackMetrics, Distances
from mibench.results.record import Record
from mibench.suite.suite import suite_name

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["CHOICES", "COLUMNS", "FPRS", "Records", "frame_of", "rows_of", "types_of"]

Records = list[tuple[Path, Record]]
"""Records with their paths."""


CHOICES = ("published", "calibrated", "oracle")
"""The settings at which an attack is reported."""

FPRS = ("0.001", "0.01", "0.1")
"""The false positive rates at which a TPR is reported, the strictest first."""

COLUMNS: dict[str, tuple[str, str]] = {
    "suite": ("text", "name of the suite, such as images/small"),
    "dataset": ("text", "label, such as digits:members=200"),
    "defense": ("text", "label, such as hold3"),
    "attack": ("text", "label, such as pia:p=2; 'utility' in the rows that measure a model's samples"),
    "seed": ("integer", "of split, training and noise"),
    "model_kind": (
        "text",
        "trained, exact (the optimal model of the members) or fresh (that of data that nobody attacks)",
    ),
    "checkpoint": ("integer", "training step after which the model was measured, 0 for the end"),
    "status": ("text", "done, n/a, failed or outdated"),
    "reason": ("text", "why a cell does not apply, or failed"),
    "current": (
        "text",
        "yes; unlisted (not in the suite's lists); unknown (a component is not registered, so it may be stale); stale; or "
        "excluded (of a seed, recipe, checkpoint or measure of utility that the suite does not ask for)",
    ),
    "tier": ("text", "what the attacker needs: samples, network, weights, shadows, or data (no model at all)"),
    "adaptive": ("boolean", "whether the attack was made for this kind of defense"),
    **{
        f"{choice}_{part}": (kind, f"{what} at the {choice} setting")
        for choice in CHOICES
        for part, kind, what in (
            ("setting", "text", "name of the setting"),
            ("auroc", "number", "AUROC"),
            ("auroc_low", "number", "lower end of the 95 % interval of the AUROC"),
            ("auroc_high", "number", "upper end of the 95 % interval of the AUROC"),
        )
    },
    **{f"tpr_at_{fpr}": ("number", f"largest TPR at an FPR of at most {fpr}, calibrated setting") for fpr in FPRS},
    "accuracy": ("number", "balanced accuracy at the threshold that is best on the calibration samples"),
    "tpr": ("number", "true positive rate at that threshold"),
    "fpr": ("number", "false positive rate at that threshold"),
    "epsilon": (
        "number",
        "lower bound at 95 % on the ε of pure differential privacy that follows from these two rates",
    ),
    "evaluated_members": ("integer", "members that the attack was evaluated on"),
    "evaluated_nonmembers": ("integer", "non-members that the attack was evaluated on"),
    "audit_epsilon": ("number", "lower bound at 95 % on ε from an audit's guesses, at δ = 0"),
    "audit_canaries": ("integer", "canaries that the audit was evaluated on"),
    "audit_guesses": ("integer", "of how many of them it was guessed whether they were trained on"),
    "audit_correct": ("integer", "how many of these guesses are right"),
    "samples": ("integer", "how many samples were drawn from the model"),
    "fraction": (
        "number",
        "(fd − fd_copies) / (fd_gauss − fd_copies); missing where fd_gauss − fd_copies is not above fd_null",
    ),
    "copied": ("number", "share of samples nearer to a member than 99 % of the reference are"),
    **{
        f"{prefix}{part}": (kind, f"{what}{of}")
        for prefix, of in (("", ""), ("inception_", ", with Inception features"))
        for part, kind, what in (
            ("space", "text", "feature space of the distances"),
            ("fd", "number", "Fréchet distance of the samples to the reference"),
            ("kid", "number", "kernel distance of the samples to the reference"),
            ("fd_null", "number", "Fréchet distance between two halves of the reference"),
            ("fd_copies", "number", "Fréchet distance of resampled members"),
            ("fd_gauss", "number", "Fréchet distance of a Gaussian with the members' mean and covariance"),
        )
    },
    "members": ("integer", "members in the split"),
    "nonmembers": ("integer", "non-members in the split"),
    "reference": ("integer", "reference samples in the split"),
    "near_duplicates": ("integer", "non-members that nearly equal a member"),
    "model_key": ("text", "identifies the model"),
    "steps": ("integer", "training steps"),
    "epochs_per_member": ("number", "how often training has drawn each member, on average"),
    "member_loss": ("number", "loss on members"),
    "heldout_loss": ("number", "loss on held-out samples"),
    "training_seconds": ("number", "wall time of training"),
    "forwards": ("number", "network evaluations of the attack for each scored sample"),
    "vjps": ("number", "vector–Jacobian products of the attack for each scored sample"),
    "shadow_forwards": ("number", "network evaluations of shadow models for each scored sample"),
    "shadow_vjps": ("number", "vector–Jacobian products of shadow models for each scored sample"),
    "fit_forwards": ("number", "network evaluations in all before the first sample was scored"),
    "fit_vjps": ("number", "vector–Jacobian products in all before the first sample was scored"),
    "seconds": ("number", "wall time of the cell, without training"),
    "key": ("text", "identifies the cell"),
    "path": ("text", "the record's file, relative to the suite's folder"),
    "record": ("object", "the Record itself, with ranks, provenance and every other field"),
}
"""The columns of ``records``: type (text, integer, number, boolean or object) and meaning. Where a record has no such figure,
the value is missing (NaN)."""


def rows_of(found: Records, selection: Selection, folder: Path) -> list[dict[str, Any]]:
    """A row of plain values for each record, with all ``COLUMNS`` but the record; None where it has no such figure.

    Args:
        found: records with their paths.
        selection: from all records of the suite, which says what is current.
        folder: of the suite.
    """
    suite, empty = suite_name(folder), dict.fromkeys(name for name in COLUMNS if name != "record")
    return [
        {**empty, "suite": suite, **_row(record), "current": selection.current(path, record)}
        | {"path": str(path.relative_to(folder))}
        for path, record in found
    ]


def types_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The type of each column of rows, in their order; a rate at an FPR that is not in ``COLUMNS`` is a number."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    return {name: COLUMNS[name][0] if name in COLUMNS else "number" for name in names if name != "record"}


def frame_of(rows: list[dict[str, Any]], records: list[Record]) -> DataFrame:
    """Rows with their records as a frame. The types of its columns do not depend on which figures are missing, except that
    whole numbers are floats, and booleans are objects, where one is missing.
    """
    import pandas as pd

    types = {"text": pd.Series([""]).dtype, "integer": "int64", "number": "float64", "boolean": "bool"}
    missing = {"integer": "float64", "boolean": "object"}
    columns = {}
    for name, kind in types_of(rows).items():
        values = [row.get(name) for row in rows]
        dtype = missing.get(kind, types[kind]) if None in values else types[kind]
        columns[name] = pd.Series(values, dtype=dtype)
    columns["record"] = pd.Series(records, dtype="object")
    return pd.DataFrame(columns)


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
    if audit := record.audit:
        row |= {f"audit_{name}": getattr(audit, name) for name in ("epsilon", "canaries", "guesses", "correct")}
        row["adaptive"] = audit.adaptive
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
