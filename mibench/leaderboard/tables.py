"""Records → what the tables show: which cells there are, means over seeds, the worst known attack, and controls."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from mibench.kinds import Tier
from mibench.metrics.membership import auroc_score_interval, null_distance, paired_test, shuffled_auroc
from mibench.names import split_list
from mibench.recipe import Recipe
from mibench.results.figures import AttackMetrics, UtilityMetrics
from mibench.results.folder import UTILITY, read_folder
from mibench.results.record import Record
from mibench.suite.suite import Suite, checkpoint_steps, load_suite

__all__ = [
    "PLOT",
    "TIERS",
    "Board",
    "Control",
    "Difference",
    "Spread",
    "Worst",
    "matched",
    "mean_difference",
    "mean_interval",
    "open_board",
    "spread",
]

TIERS: tuple[Tier, ...] = ("samples", "network", "weights", "shadows")

PLOT = "training.png"
T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Numbers of several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation, None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Worst:
    """The attack with the largest mean calibrated AUROC among those of some tiers.

    Attributes:
        attack: its label.
        area: its AUROC, seed by seed.
        interval: of the mean, at 95 % for all attacks that it was chosen from together (Bonferroni).
        null: the same maximum of the same attacks on fresh data, None where that was not run.
    """

    attack: str
    area: Spread
    interval: tuple[float, float]
    null: float | None


@dataclass(frozen=True)
class Difference:
    """How much more a defense leaks than another, on the same samples: mean over seeds with its 95 % interval."""

    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Control:
    """What an attack reaches where the answer is known.

    Attributes:
        exact: the least AUROC over defenses on the exact model of the members, at its calibrated setting.
        fresh: the AUROC on fresh data that is farthest from .5 over defenses and seeds.
        outside: how many of those are farther from .5 than chance takes any of the dataset's in 1 % of cases, and of how many.
        shuffled: mean AUROC with the labels of the stored scores shuffled, over defenses and seeds.
    """

    exact: float | None
    fresh: float | None
    outside: tuple[int, int]
    shuffled: float | None


@dataclass(frozen=True)
class Board:
    """A suite with the records that belong to it.

    Attributes:
        suite: what the suite file says.
        kinds: records, of failed cells too, by kind of model and checkpoint (0 is the end of training); then by dataset,
            defense and attack ("utility" for measures of samples), in the order of the seeds.
        kind: the kind of model and checkpoint that the other members speak of.
        strange: how many records are not shown, by what about them the suite does not ask for.
    """

    suite: Suite
    kinds: dict[tuple[str, int], dict[tuple[str, str, str], list[Record]]]
    kind: tuple[str, int]
    strange: Counter[str]

    @property
    def cells(self) -> dict[tuple[str, str, str], list[Record]]:
        """The records of this kind of model, of failed cells too."""
        return self.kinds.get(self.kind, {})

    def at(self, model: str, checkpoint: int = 0) -> Board:
        """The same board for another kind of model or checkpoint."""
        return replace(self, kind=(model, checkpoint))

    def checkpoints(self, dataset: str | None = None) -> list[int]:
        """The steps after which trained models (of a dataset) were measured, 0 for the end, which comes last."""
        steps = {
            checkpoint
            for (model, checkpoint), cells in self.kinds.items()
            if model == self.kind[0] and any(dataset in (None, cell[0]) for cell in cells)
        }
        return sorted(steps, key=lambda step: step or math.inf)

    @property
    def progress(self) -> tuple[int, int]:
        """How many of the suite's records at the end of training are there, and how many there should be."""
        suite = self.suite
        expected = [(s, d, a) for s in suite.datasets for d in suite.defenses for a in (UTILITY, *suite.attacks)]
        done = sum(len(_ended(self.cells.get(cell, ()))) for cell in expected)
        return done, len(expected) * len(suite.seeds)

    @property
    def beside(self) -> int:
        """How many records there are of other kinds of model and of checkpoints."""
        return sum(
            len(_ended(found)) for kind, cells in self.kinds.items() if kind != self.kind for found in cells.values()
        )

    @property
    def failed(self) -> int:
        """How many cells failed, whatever the kind of model."""
        return sum(r.status == "failed" for cells in self.kinds.values() for found in cells.values() for r in found)

    def everything(self) -> list[Record]:
        """The records of every kind of model and checkpoint; no failed cells."""
        return _ended(r for cells in self.kinds.values() for found in cells.values() for r in found)

    def datasets(self) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.datasets, (cell[0] for cell in self.cells))

    def defenses(self, dataset: str) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.defenses, (cell[1] for cell in self.cells if cell[0] == dataset))

    def attacks(self, dataset: str) -> list[str]:
        """The suite's, then others that have records."""
        return _ordered(self.suite.attacks, (a for d, _, a in self.cells if d == dataset and a != UTILITY))

    def records(self, dataset: str, defense: str | None = None, attack: str | None = None) -> list[Record]:
        """The records of a dataset, of one defense and of one attack where they are given; no failed cells."""
        return _ended(self.told(dataset, defense, attack))

    def told(self, dataset: str, defense: str | None = None, attack: str | None = None) -> list[Record]:
        """The same with failed cells."""
        wanted = (dataset, defense, attack)
        return [
            record
            for cell, records in self.cells.items()
            if all(want in (None, part) for want, part in zip(wanted, cell, strict=True))
            for record in records
        ]

    def attacked(self, dataset: str, defense: str, attack: str) -> list[AttackMetrics]:
        """The metrics of an attack, seed by seed; those that do not apply are left out."""
        return [r.attack for r in self.cells.get((dataset, defense, attack), ()) if r.attack]

    def utilities(self, dataset: str, defense: str | None = None) -> list[UtilityMetrics]:
        """The measures of samples, seed by seed."""
        return [r.utility for r in self.records(dataset, defense, UTILITY) if r.utility]

    def auroc(self, dataset: str, defense: str, attack: str, choice: str = "calibrated") -> Spread | None:
        """The AUROC at the published, calibrated or oracle setting, None without one."""
        return spread(self.attacked(dataset, defense, attack), lambda m: getattr(m, choice).auroc.value)

    def tiers(self, dataset: str) -> list[Tier]:
        """The tiers that attacks on this dataset belong to."""
        found = {r.attack.tier for r in self.records(dataset) if r.attack}
        return [tier for tier in TIERS if tier in found]

    def worst(self, dataset: str, defense: str, tier: Tier = TIERS[-1]) -> Worst | None:
        """The worst known attack of an attacker with this access, who may use everything of the tiers before it, too."""
        allowed = TIERS[: TIERS.index(tier) + 1]
        known = {}
        for attack in self.attacks(dataset):
            found = self.attacked(dataset, defense, attack)
            area = self.auroc(dataset, defense, attack)
            if area and found[0].tier in allowed:
                known[attack] = area
        if not known:
            return None
        attack = max(known, key=lambda name: known[name].mean)
        interval = mean_interval(self.attacked(dataset, defense, attack), 1 - 0.05 / len(known))
        fresh = [self.at("fresh").auroc(dataset, defense, name) for name in known]
        nulls = [area.mean for area in fresh if area]
        return Worst(attack, known[attack], interval, max(nulls) if nulls else None)

    def adaptive(self, dataset: str, defense: str) -> list[str]:
        """The attacks made for this kind of defense that have met it: by their own word, or by that of the defense."""
        return [a for a in self.attacks(dataset) if any(m.adaptive for m in self.attacked(dataset, defense, a))]

    def difference(self, dataset: str, defense: str, baseline: str) -> Difference | None:
        """The worst known attack's AUROC on a defense minus that on a baseline, each defense under its own."""
        mine, its = self.worst(dataset, defense), self.worst(dataset, baseline)
        if not mine or not its or defense == baseline:
            return None
        sides = [
            {record.cell.seed: record.attack for record in self.records(dataset, name, found.attack) if record.attack}
            for name, found in ((defense, mine), (baseline, its))
        ]
        pairs = [(sides[0][seed], sides[1][seed]) for seed in sides[0] if seed in sides[1]]
        return mean_difference(pairs) if pairs else None

    def controls(self, dataset: str) -> dict[str, Control]:
        """What each attack reaches where the answer is known."""
        exact = self.at("exact")
        attacks = _ordered(self.attacks(dataset), [*exact.attacks(dataset), *self.at("fresh").attacks(dataset)])
        nulls = {attack: self._null(dataset, attack) for attack in attacks}
        family = sum(map(len, nulls.values()))
        found = {}
        for attack, metrics in nulls.items():
            if (
                not metrics
                and not exact.told(dataset, attack=attack)
                and not self.at("fresh").told(dataset, attack=attack)
            ):
                continue
            values = [m.calibrated.auroc.value for m in metrics if m.calibrated.auroc.value is not None]
            limit = statistics.NormalDist().inv_cdf(1 - 0.01 / family / 2) if family else math.inf
            far = sum(abs(null_distance(*m.ranked())) > limit for m in metrics)
            known = [exact.auroc(dataset, defense, attack) for defense in exact.defenses(dataset)]
            reached = [area.mean for area in known if area]
            mixed = [shuffled_auroc(*m.ranked(), seed=k) for k, m in enumerate(metrics)]
            found[attack] = Control(
                exact=min(reached) if reached else None,
                fresh=max(values, key=lambda value: abs(value - 0.5)) if values else None,
                outside=(far, len(metrics)),
                shuffled=statistics.fmean(mixed) if mixed else None,
            )
        return found

    def _null(self, dataset: str, attack: str) -> list[AttackMetrics]:
        """What an attack reaches on fresh data; one that never looks at a model, on the suite's own, once for each seed."""
        fresh = self.at("fresh")
        blind = {
            record.cell.seed: record.attack
            for record in self.records(dataset, attack=attack)
            if record.attack and record.attack.tier == "data"
        }
        seen = [m for d in fresh.defenses(dataset) for m in fresh.attacked(dataset, d, attack)]
        return seen or list(blind.values())

    def blind(self, dataset: str) -> set[str]:
        """The attacks that never look at a model."""
        cells = (self.cells, self.at("fresh").cells)
        records = (r for kind in cells for (name, _, _), rows in kind.items() if name == dataset for r in rows)
        return {r.labels["attack"] for r in records if r.attack and r.attack.tier == "data"}

    def path(self, dataset: str, defense: str) -> list[tuple[int, float, float]]:
        """Steps (0 for the end), mean distance and worst known AUROC at each checkpoint, in the order of training."""
        points = []
        for step in self.checkpoints(dataset):
            then = self.at(self.kind[0], step)
            distance = spread(then.utilities(dataset, defense), lambda u: u.distance)
            worst = then.worst(dataset, defense)
            if distance and worst:
                points.append((step, distance.mean, worst.area.mean))
        return points


def matched(path: list[tuple[int, float, float]], distance: float) -> float | None:
    """The AUROC where a training first comes down to this distance, linear between checkpoints; None if it never does."""
    before: tuple[float, float] | None = None
    for _, here, area in path:
        if here <= distance:
            if before is None:
                return area
            share = (before[0] - distance) / (before[0] - here)
            return before[1] + share * (area - before[1])
        before = (here, area)
    return None


def mean_interval(found: list[AttackMetrics], level: float) -> tuple[float, float]:
    """The interval of the mean AUROC over models that were trained and attacked apart."""
    areas = [m.calibrated.auroc.value or 0.0 for m in found]
    return _joined(areas, [auroc_score_interval(*m.ranked(), level=level) for m in found])


def mean_difference(pairs: list[tuple[AttackMetrics, AttackMetrics]]) -> Difference:
    """How much larger the mean AUROC of the first is than that of the second, each pair on the same samples."""
    tests = [paired_test(*one.ranked(), *other.ranked()) for one, other in pairs]
    means = [test[0] for test in tests]
    return Difference(statistics.fmean(means), _joined(means, [test[1] for test in tests]))


def _joined(means: list[float], spans: list[tuple[float, float]]) -> tuple[float, float]:
    """The interval of a mean of independent estimates: distances to the limits add up as squares (Newcombe 1998)."""
    centre = statistics.fmean(means)
    below, above = (
        math.sqrt(sum((m - span[side]) ** 2 for m, span in zip(means, spans, strict=True))) / len(means)
        for side in (0, 1)
    )
    return centre - below, centre + above


def spread(items: Iterable[T], number: Callable[[T], float | None]) -> Spread | None:
    """A number of each item, those without it left out; None where none has it."""
    values = tuple(value for item in items if (value := number(item)) is not None)
    return Spread(values) if values else None


def _ended(records: Iterable[Record]) -> list[Record]:
    """The records of cells that did not fail."""
    return [record for record in records if record.status != "failed"]


def _ordered(first: list[str], others: Iterable[str]) -> list[str]:
    return [*first, *sorted(set(others) - set(first))]


def _strange(suite: Suite, record: Record) -> str | None:
    """What about a record the suite does not ask for; it may be of any defense and attack, that is how rows come in."""
    cell = record.cell
    if cell.seed not in suite.seeds:
        return "another seed"
    if cell.model == "trained":
        recipe = cell.recipe or {}
        if not _agrees(recipe, suite.recipe.get(cell.dataset.name, {})):
            return "another recipe"
        if cell.checkpoint not in (0, *checkpoint_steps(suite, recipe.get("steps", 0))):
            return "another checkpoint"
    if cell.utility not in (None, suite.utility.model_dump(mode="json")):
        return "another measure of utility"
    return None


def _agrees(recipe: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether a recipe has what a suite asks for, however that is written."""
    try:
        return Recipe(**{**recipe, **asked}) == Recipe(**recipe)
    except ValidationError:
        return False


def _as_labelled(suite: Suite, records: list[Record]) -> Suite:
    """The suite with its names as the records write them: whatever the order of options, it is the same component."""

    def parts(text: str) -> tuple[str, frozenset[str]]:
        name, _, options = text.partition(":")
        return name.strip(), frozenset(split_list(options))

    changes: dict[str, Any] = {}
    for kind in ("dataset", "defense", "attack"):
        labels = {parts(record.labels[kind]): record.labels[kind] for record in records}
        changes[f"{kind}s"] = [labels.get(parts(text), text) for text in getattr(suite, f"{kind}s")]
    if suite.baseline in suite.defenses:
        changes["baseline"] = changes["defenses"][suite.defenses.index(suite.baseline)]
    return suite.model_copy(update=changes)


def open_board(folder: Path) -> Board:
    """Read a suite and those of its records that were made as it says.

    Raises:
        MibenchError: where either cannot be read.
    """
    records = [record for _, record in read_folder(folder)]
    suite = _as_labelled(load_suite(str(folder)).suite, records)
    kinds: dict[tuple[str, int], dict[tuple[str, str, str], list[Record]]] = {}
    strange = [_strange(suite, record) for record in records]
    shown = [record for record, reason in zip(records, strange, strict=True) if reason is None]
    for record in sorted(shown, key=lambda r: suite.seeds.index(r.cell.seed)):
        labels, kind = record.labels, (record.cell.model, record.cell.checkpoint)
        cells = kinds.setdefault(kind, {})
        cells.setdefault((labels["dataset"], labels["defense"], labels["attack"]), []).append(record)
    ordered = {kind: dict(sorted(cells.items())) for kind, cells in sorted(kinds.items())}
    return Board(suite, ordered, (suite.model, 0), Counter(filter(None, strange)))
