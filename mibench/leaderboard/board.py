"""A suite with its records: which cells there are, means over seeds, the worst known attack."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mibench.components import Attack
from mibench.kinds import Tier
from mibench.leaderboard.frame import frame_of, rows_of
from mibench.leaderboard.selection import Selection, select
from mibench.leaderboard.summaries import Difference, Spread, TrainingCurve, mean_difference, mean_interval
from mibench.measures import MeasuredDefense
from mibench.metrics.headings import REHEARSAL_SPACE
from mibench.results.figures import AttackMetrics, AuditMetrics
from mibench.results.folder import UTILITY, read_folder
from mibench.results.known import Known
from mibench.results.record import Record
from mibench.suite.suite import load_suite

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["DONE", "TIERS", "Board", "Worst", "open_board"]

TIERS: tuple[Tier, ...] = ("samples", "network", "weights", "shadows")
"""What an attacker may use, each with all before it. The tier "data", which needs no model, is no attack on one."""

DONE = ("done", "n/a")
"""The status of a record that enters figures. Others, such as "failed", are counted and named instead."""

KINDS = ("dataset", "defense", "attack")

CellName = tuple[str, str, str]
"""Dataset, defense and attack ("utility" for measures of samples)."""


@dataclass(frozen=True)
class Worst:
    """The attack with the largest mean calibrated AUROC among those of some tiers.

    Attributes:
        attack: its label.
        auroc: its AUROC, seed by seed.
        interval: of the mean, at 95 % for all attacks that it was chosen from together (Bonferroni).
        null: the same maximum of the same attacks on fresh data, None where that was not run.
        unrun: attacks of the suite and of these tiers that have a result on another defense of the dataset and none on this
            one: with them the AUROC may be larger, so that it is compared only with others that lack the same.
    """

    attack: str
    auroc: Spread
    interval: tuple[float, float]
    null: float | None
    unrun: tuple[str, ...] = ()


class Board:
    """The records of a suite, seen at one kind of model and one checkpoint.

    Args:
        selection: the suite, and which of its records are shown.
        frame: these records, see ``mibench.leaderboard.frame``; the seeds of a cell are in the suite's order.
        model_kind: the kind of model that this view shows; the suite's by default.
        checkpoint: the training step that this view shows, 0 for the end.
    """

    def __init__(self, selection: Selection, frame: DataFrame, model_kind: str = "", checkpoint: int = 0) -> None:
        self.selection = selection
        self.suite = selection.suite
        self.frame = frame
        self.model_kind = model_kind or self.suite.model
        self.checkpoint = checkpoint
        self._views: dict[tuple[str, int], Board] = {(self.model_kind, checkpoint): self}
        self._values: dict[str, dict[CellName, tuple[Any, ...]]] = {}
        self._worst: dict[tuple[str, str, Tier], Worst | None] = {}

    def at(self, model_kind: str, checkpoint: int = 0) -> Board:
        """The same board at another kind of model or checkpoint."""
        if (model_kind, checkpoint) not in self._views:
            view = Board(self.selection, self.frame, model_kind, checkpoint)
            view._views = self._views
            self._views[model_kind, checkpoint] = view
        return self._views[model_kind, checkpoint]

    # ── cells ─────────────────────────────────────────────────────────────────────────────────────────────────────
    @cached_property
    def rows(self) -> DataFrame:
        """The rows of this kind of model and checkpoint, whatever their status."""
        here = (self.frame["model_kind"] == self.model_kind) & (self.frame["checkpoint"] == self.checkpoint)
        return self.frame[here]

    @cached_property
    def done(self) -> DataFrame:
        """The rows that hold figures, or say that there can be none."""
        return self.rows[self.rows["status"].isin(DONE)]

    @cached_property
    def _cells(self) -> list[CellName]:
        """The cell of each row of ``done``."""
        return list(zip(*(self.done[name].tolist() for name in KINDS), strict=True))

    @cached_property
    def outcomes(self) -> dict[CellName, list[tuple[str, str | None]]]:
        """Status and reason of each record of a cell."""
        found: dict[CellName, list[tuple[str, str | None]]] = {}
        columns = [self.rows[name] for name in (*KINDS, "status", "reason")]
        for dataset, defense, attack, status, reason in zip(*columns, strict=True):
            found.setdefault((dataset, defense, attack), []).append((status, reason))
        return dict(sorted(found.items()))

    def values(self, column: str) -> dict[CellName, tuple[Any, ...]]:
        """The values of a column by cell, in the order of the seeds; missing ones and cells that are not done are left out."""
        if column not in self._values:
            lists: dict[
                CellName, list[Any]
            ] = {}  # pandas' groupby makes a Series of each: a second more for all boards
            rows = self.done[column]
            for cell, value, known in zip(self._cells, rows.tolist(), rows.notna().tolist(), strict=True):
                if known:
                    lists.setdefault(cell, []).append(value)
            self._values[column] = {cell: tuple(values) for cell, values in lists.items()}
        return self._values[column]

    def spread(self, column: str, dataset: str, defense: str, attack: str = UTILITY) -> Spread | None:
        """The figures of one cell, None where there are none."""
        values = self.values(column).get((dataset, defense, attack))
        return Spread(values) if values else None

    def all_of(self, column: str, dataset: str, defense: str | None = None) -> list[Any]:
        """The values of a column in all cells of a dataset, or of a defense on it."""
        return [
            value
            for (of, under, _), values in self.values(column).items()
            if of == dataset and defense in (None, under)
            for value in values
        ]

    def metrics(self, dataset: str, defense: str, attack: str) -> dict[int, AttackMetrics]:
        """The metrics of an attack by seed; seeds to which it does not apply are left out."""
        found = self._records((dataset, defense, attack))
        return {seed: record.attack for seed, record in found.items() if record.attack}

    def distances(self, dataset: str, defense: str) -> dict[int, float]:
        """The Fréchet distance of a defense's samples by seed; seeds without samples are left out."""
        found = self._records((dataset, defense, UTILITY))
        return {seed: record.utility.distance for seed, record in found.items() if record.utility}

    def _records(self, cell: CellName) -> dict[int, Record]:
        """The records of a cell that are done, by seed."""
        return dict(zip(self.values("seed").get(cell, ()), self.values("record").get(cell, ()), strict=True))

    def datasets(self) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.datasets, (cell[0] for cell in self.outcomes))

    def defenses(self, dataset: str) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.defenses, (cell[1] for cell in self.outcomes if cell[0] == dataset))

    def attacks(self, dataset: str) -> list[str]:
        """The suite's, then others that have records; audits are none of them."""
        found = _ordered(self.suite.attacks, (a for d, _, a in self.outcomes if d == dataset and a != UTILITY))
        return [attack for attack in found if (dataset, attack) not in self._audits]

    def audits(self, dataset: str) -> list[str]:
        """The audits that have a bound on some model, in the order of their names."""
        return _ordered([], (attack for of, attack in self._audits if of == dataset))

    @cached_property
    def _audits(self) -> set[tuple[str, str]]:
        """Dataset and attack of the records that hold an audit, whatever the model."""
        rows = self.frame[self.frame["audit_epsilon"].notna()]
        return set(zip(rows["dataset"].tolist(), rows["attack"].tolist(), strict=True))

    def audited(self, dataset: str, defense: str, attack: str) -> dict[int, AuditMetrics]:
        """What an audit has found by seed, see ``mibench.results.figures.audit_bound``."""
        found = self._records((dataset, defense, attack))
        return {seed: record.audit for seed, record in found.items() if record.audit}

    def checkpoints(self, dataset: str | None = None) -> list[int]:
        """The steps after which models (of a dataset) were measured, 0 for the end, which comes last."""
        found = {step for kind, of, step in self._measured if kind == self.model_kind and dataset in (None, of)}
        return sorted(found, key=lambda step: step or math.inf)

    @cached_property
    def _measured(self) -> set[tuple[str, str, int]]:
        """Kinds of model, datasets and checkpoints that have a record."""
        return set(zip(*(self.frame[name].tolist() for name in ("model_kind", "dataset", "checkpoint")), strict=True))

    @property
    def baseline(self) -> str:
        """The defense that the others are compared with."""
        return self.suite.baseline or self.suite.defenses[0]

    @cached_property
    def display_names(self) -> dict[str, str]:
        """What people call each dataset, defense and attack, by label; one that is not at hand has its label."""
        suite, find = self.suite, self.selection.known.component
        labels = zip(KINDS, (suite.datasets, suite.defenses, suite.attacks), strict=True)
        found = {kind: sorted({*listed, *self.frame[kind]}) for kind, listed in labels}
        components = {label: find(kind, label) for kind, names in found.items() for label in names}
        return {label: component.display_name if component else label for label, component in components.items()}

    @property
    def rehearsal(self) -> bool:
        """Whether some distance is of a network with random weights in place of Inception's, so that no figure counts."""
        return bool((self.frame["inception_space"] == REHEARSAL_SPACE).any())

    # ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def progress(self) -> tuple[int, int]:
        """How many of the suite's cells have a current record at the end of training, and how many there should be."""
        suite, records = self.suite, self.values("record")
        cells = [(s, d, a) for s in suite.datasets for d in suite.defenses for a in (UTILITY, *suite.attacks)]
        return sum(len(records.get(cell, ())) for cell in cells), len(cells) * len(suite.seeds)

    @property
    def other_count(self) -> int:
        """How many of the records that the suite lists are of other kinds of model and of checkpoints."""
        rows = self.frame[self.frame["status"].isin(DONE)].drop(index=self.done.index)
        parts = zip(*(rows[kind] for kind in KINDS), strict=True)
        return sum(all(map(self.selection.is_listed, KINDS, labels)) for labels in parts)

    def count(self, status: str) -> int:
        """How many records have this status, whatever the kind of model."""
        return int((self.frame["status"] == status).sum())

    # ── privacy ───────────────────────────────────────────────────────────────────────────────────────────────────
    def tiers(self, dataset: str) -> list[Tier]:
        """The tiers that attacks on this dataset belong to."""
        found = set(self.all_of("tier", dataset))
        return [tier for tier in TIERS if tier in found]

    def worst(self, dataset: str, defense: str, tier: Tier = TIERS[-1]) -> Worst | None:
        """The worst known attack of an attacker with this access, who may use everything of the tiers before it, too."""
        if (dataset, defense, tier) not in self._worst:
            self._worst[dataset, defense, tier] = self._find_worst(dataset, defense, tier)
        return self._worst[dataset, defense, tier]

    def _find_worst(self, dataset: str, defense: str, tier: Tier) -> Worst | None:
        allowed, tiers = TIERS[: TIERS.index(tier) + 1], self.values("tier")
        areas = {attack: self.spread("calibrated_auroc", dataset, defense, attack) for attack in self.attacks(dataset)}
        known = {a: area for a, area in areas.items() if area and tiers[dataset, defense, a][0] in allowed}
        if not known:
            return None
        attack = max(known, key=lambda name: known[name].mean)
        metrics = list(self.metrics(dataset, defense, attack).values())
        fresh = [self.at("fresh").spread("calibrated_auroc", dataset, defense, name) for name in known]
        null = max((area.mean for area in fresh if area), default=None)
        records, used = self.values("record"), self._attack_tiers(dataset)
        unrun = (a for a in self.suite.attacks if used.get(a) in allowed and (dataset, defense, a) not in records)
        return Worst(attack, known[attack], mean_interval(metrics, 1 - 0.05 / len(known)), null, tuple(unrun))

    def _attack_tiers(self, dataset: str) -> dict[str, Tier]:
        """The tier of each attack that has a result on some defense."""
        return {attack: tiers[0] for (of, _, attack), tiers in self.values("tier").items() if of == dataset}

    def adaptive(self, dataset: str, defense: str) -> list[str]:
        """The attacks made for this kind of defense that were run on it: the attack or the defense says so."""
        found = self.values("adaptive")
        run = [*self.attacks(dataset), *self.audits(dataset)]
        return [attack for attack in run if any(found.get((dataset, defense, attack), ()))]

    def unmet(self, dataset: str, defense: str) -> dict[str, tuple[str, ...]]:
        """The parts of a defense that met no adaptive attack here, by label, with the attacks that they name.

        A defense without measures, or that is not registered, is its only part; else see ``MeasuredDefense.unmet``.
        """
        known = self.selection.known
        component = known.component("defense", defense)
        if not isinstance(component, MeasuredDefense):
            return {} if self.adaptive(dataset, defense) else {defense: ()}
        run = [*self.attacks(dataset), *self.audits(dataset)]
        done = [attack for attack in run if "done" in dict(self.outcomes.get((dataset, defense, attack), ()))]
        attacks = [known.component("attack", attack) for attack in done]
        return component.unmet([attack for attack in attacks if isinstance(attack, Attack)])

    def difference(
        self, dataset: str, defense: str, other: str, level: float = 0.95, tier: Tier = TIERS[-1]
    ) -> Difference | None:
        """The worst known attack's AUROC on a defense minus that on another one, each defense under its own.

        None also where an attack was run on one of them and not on the other.
        """
        mine, its = self.worst(dataset, defense, tier), self.worst(dataset, other, tier)
        if not mine or not its or defense == other or mine.unrun != its.unrun:
            return None
        ours = self.metrics(dataset, defense, mine.attack)
        theirs = self.metrics(dataset, other, its.attack)
        pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        return mean_difference(pairs, level) if pairs else None

    def training_curve(self, dataset: str, defense: str) -> TrainingCurve:
        """Distance and worst known AUROC at each checkpoint."""
        points = []
        for step in self.checkpoints(dataset):
            then = self.at(self.model_kind, step)
            distance, worst = then.spread("fd", dataset, defense), then.worst(dataset, defense)
            if distance and worst:
                points.append((step, distance.mean, worst.auroc.mean))
        return points


def open_board(folder: Path, known: Known) -> Board:
    """Read a suite and those of its records that it asks for and that are current.

    Args:
        folder: of the suite.
        known: the registered components, which say what is current.

    Raises:
        MibenchError: where the suite or a record cannot be read.
    """
    selection = select(load_suite(str(folder)).suite, read_folder(folder), known)
    rows = rows_of(selection.shown, selection, folder)
    return Board(selection, frame_of(rows, [record for _, record in selection.shown]))


def _ordered(first: list[str], others: Iterable[str]) -> list[str]:
    return [*first, *sorted(set(others) - set(first))]
