"""Records made by hand, whose ranks, AUROCs and intervals agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.claims import Claim
from mibench.leaderboard.board import Board, open_board
from mibench.metrics.auroc import auroc, auroc_interval
from mibench.metrics.scores import ranks
from mibench.results.figures import AttackMetrics, Estimate, Setting, Threshold, UtilityMetrics, packed
from mibench.results.known import Known
from mibench.results.record import Record, record_path, write_record

MEMBERS, NONMEMBERS = 80, 320
FEW = Estimate(value=None, reason="320 non-members; 1000 are needed")
ENVIRONMENT = {
    **dict.fromkeys(("python", "mibench", "numpy", "scipy", "scikit-learn", "chip"), "1.0"),
    "torch": "2.11.0",
    "device": "cpu",
    "threads": 1,
    "scoring_batch": 512,
    "deterministic": True,
}
KNOWN = Known(
    {("dataset", "digits"): 1}
    | {("defense", name): 1 for name in ("vp", "ve", "hold3", "added", "zero")}
    | {("attack", name): 1 for name in ("loss", "pia", "blind", "guess", "loss:draws=8,times=[0.1,0.2]")}
)
"""Registered components for all records made here."""

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]


def scores(area: float, members: int = MEMBERS, nonmembers: int = NONMEMBERS, seed: int = 0) -> Scores:
    """Scores with exactly this AUROC, a multiple of 1 / (members · nonmembers); the members' order depends on the seed."""
    base, more = divmod(round(area * members * nonmembers), members)
    farther = np.arange(members // 2) * max(0, min(base, nonmembers - base - 1)) // (members // 2)
    apart = np.zeros(members)
    apart[: members // 2], apart[-(members // 2) :] = -farther, farther
    wins = np.random.default_rng(seed).permutation(base + apart + (np.arange(members) < more))
    made = 2 * wins, 2 * np.arange(nonmembers) + 1.0
    assert abs(auroc(*made) - area) < 1 / members / nonmembers
    return made


def threshold(accuracy: float = 0.6, fpr: float = 0.25, epsilon: float = 0.5) -> Threshold:
    """What an attack reaches at its calibrated threshold."""
    return Threshold(accuracy=Estimate(value=accuracy), tpr=2 * accuracy - 1 + fpr, fpr=fpr, epsilon=epsilon)


def metrics(
    made: Scores, setting: str = "t=0.1", tpr: dict[str, Estimate] | None = None, **values: Any
) -> AttackMetrics:
    """The metrics that scores at the calibrated setting give."""
    area = Estimate(value=auroc(*made), interval=auroc_interval(*made))
    chosen = Setting(setting=setting, auroc=area, tpr=tpr or {}, fixed=threshold())
    members, nonmembers = ranks(*made)
    fields = {
        "settings": {setting: (0.5, area.value)},
        "published": chosen,
        "calibrated": chosen,
        "oracle": chosen,
        "ranks": (packed(members), packed(nonmembers)),
        "tier": "network",
        "adaptive": False,
        "members": len(members),
        "nonmembers": len(nonmembers),
        "scores": "s",
    }
    return AttackMetrics(**fields | values)


def cell_facts(labels: dict[str, str], seed: int = 0, model: str = "trained", checkpoint: int = 0) -> dict[str, Any]:
    """A cell of these components at version 1, without options."""
    what = {kind: {"name": name, "version": 1, "options": {}} for kind, name in labels.items() if name != "utility"}
    recipe = {"recipe": {"steps": 10}} if model == "trained" else {}
    return {**what, **recipe, "seed": seed, "model": model, "checkpoint": checkpoint}


def board_of(folder: Path) -> Board:
    """The board of records that were made here."""
    return open_board(folder, KNOWN)


def put(
    folder: Path,
    defense: str,
    attack: str,
    seed: int,
    /,
    model: str = "trained",
    checkpoint: int = 0,
    claim: Claim | None = None,
    **values: Any,
) -> Path:
    """Write a record."""
    kind = f"{defense} {model} {checkpoint} {seed}"
    labels = {"dataset": "digits", "defense": defense, "attack": attack}
    fields = {
        "key": f"{attack} {kind}",
        "status": "done",
        "labels": labels,
        "cell": cell_facts(labels, seed, model, checkpoint),
        "split": {"fingerprint": "f", "near_duplicates": 2, "members": 100, "nonmembers": 400, "reference": 900},
        "model": {
            "key": kind,
            "digest": "w",
            "steps": 10,
            "epochs_per_member": 6.4,
            "member_loss": 0.1,
            "heldout_loss": 0.35,
            "claim": claim,
        },
        "cost": {"forwards": 3.0, "vjps": 1.0},
        "environment": ENVIRONMENT | {"threads": 1 + seed},
        "seconds": 1.0,
    }
    path = folder / "records" / record_path(labels, seed, model, checkpoint)
    write_record(path, Record(**fields | values).sealed())
    return path


def attacked(
    folder: Path,
    defense: str,
    attack: str,
    *areas: float,
    strict: Estimate = FEW,
    model: str = "trained",
    checkpoint: int = 0,
    **values: Any,
) -> list[Scores]:
    """Records of an attack, one for each seed, and the scores they stand for."""
    found = []
    for seed, area in enumerate(areas):
        made = scores(area, seed=len(defense + attack) + seed)
        tpr = {"0.1": Estimate(value=0.3 + seed / 10, interval=(0, 1)), "0.01": strict}
        published = Setting(setting="t=0.5", auroc=Estimate(value=0.5), tpr=tpr, fixed=threshold())
        told = metrics(made, f"t=0.{seed + 1}", tpr, **{"published": published} | values)
        put(folder, defense, attack, seed, model, checkpoint, attack=told)
        found.append(made)
    return found


def sampled(
    folder: Path,
    defense: str,
    *fractions: float,
    distance: float = 10,
    distances: Sequence[float] = (),
    model: str = "trained",
    checkpoint: int = 0,
    **values: Any,
) -> None:
    """Records of samples, one for each seed, the distance of each 2 above that of the one before unless all are given."""
    for seed, fraction in enumerate(fractions):
        fields = {
            "space": "random-conv-64",
            "n": 1000,
            "reference": 900,
            "distance": distances[seed] if distances else distance + 2 * seed,
            "copies": 1,
            "gauss": 20,
            "null": 0.5,
            "fraction": fraction,
            "copied": 0.125,
            "members_distance": 3,
            "samples": "s",
        }
        put(folder, defense, "utility", seed, model, checkpoint, utility=UtilityMetrics(**fields | values))
