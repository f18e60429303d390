"""Which records of a suite a board shows: those that the suite asks for, and that are current."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from mibench.components import Dataset
from mibench.defenses import Defense
from mibench.names import split_list, split_plus
from mibench.recipe import Recipe
from mibench.results.folder import UTILITY
from mibench.results.known import Known
from mibench.results.record import Record
from mibench.suite.suite import Suite, checkpoint_steps

__all__ = ["Current", "Selection", "select"]

Current = Literal["yes", "unlisted", "unknown", "stale", "excluded"]
"""Whether a figure may rest on a record: yes; unlisted, which is current but beside the suite's lists; unknown, where a
component is not registered, so that it may be stale; stale; excluded, since the suite asks for another seed, recipe,
checkpoint or measure of utility. A board shows the first three."""


@dataclass(frozen=True)
class Selection:
    """The records that a board shows, and how many it does not.

    Attributes:
        suite: its names written as in the records.
        known: the registered components.
        shown: records with their paths, in the order of the suite's seeds.
        excluded: how many records are not shown, by what about them the suite does not ask for.
        stale: how many are not shown since their components have changed, by the change.
        left_out: "excluded" or "stale", by the path of each record that is not shown.
    """

    suite: Suite
    known: Known
    shown: list[tuple[Path, Record]] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    left_out: dict[Path, Current] = field(default_factory=dict)

    def current(self, path: Path, record: Record) -> Current:
        """What ``Current`` says of one of the records."""
        if path in self.left_out:
            return self.left_out[path]
        if self.known.unknown(record):
            return "unknown"
        return "yes" if all(self.is_listed(*part) for part in record.labels.items()) else "unlisted"

    def is_listed(self, kind: str, label: str) -> bool:
        """Whether the suite lists a dataset, a defense or an attack; utility and the blind attacks count as listed."""
        more = [*self.suite.blind, UTILITY] if kind == "attack" else []
        return label in getattr(self.suite, f"{kind}s") or label in more

    @cached_property
    def unlisted(self) -> list[set[tuple[str, str]]]:
        """Of each record that is shown beside the suite's lists: the kinds and labels that are in none."""
        parts = ({part for part in record.labels.items() if not self.is_listed(*part)} for _, record in self.shown)
        return [found for found in parts if found]

    @cached_property
    def unknown(self) -> list[dict[tuple[str, str], list[str]]]:
        """Of each record that is shown though components are not registered: these, by the kind and label that name them."""
        parts = [
            {(kind, record.labels[kind]): names for kind, names in self.known.unknown(record).items()}
            for _, record in self.shown
        ]
        return [found for found in parts if found]

    @cached_property
    def unknown_labels(self) -> set[tuple[str, str]]:
        """The kinds and labels that name a component that is not registered."""
        return {part for found in self.unknown for part in found}


def select(suite: Suite, found: list[tuple[Path, Record]], known: Known) -> Selection:
    """Choose among all records of a suite's folder, each with its path."""
    records = [record for _, record in found]
    chosen = Selection(_as_labelled(suite, records, known), known.among(records))
    for path, record in found:
        if reason := _not_asked_for(chosen, record):
            chosen.excluded[reason] += 1
            chosen.left_out[path] = "excluded"
        elif reason := chosen.known.stale(record):
            chosen.stale[reason] += 1
            chosen.left_out[path] = "stale"
        else:
            chosen.shown.append((path, record))
    chosen.shown.sort(key=lambda pair: suite.seeds.index(pair[1].cell.seed))
    return chosen


def _not_asked_for(chosen: Selection, record: Record) -> str | None:
    """What about a record the suite does not ask for. Any defense and attack is fine: that is how rows are added."""
    suite, cell = chosen.suite, record.cell
    if cell.seed not in suite.seeds:
        return "another seed"
    if cell.model == "trained":
        recipe, dataset = cell.recipe or {}, chosen.known.component("dataset", record.labels["dataset"])
        own = dataset.recipe if isinstance(dataset, Dataset) else {}
        if not _agrees(recipe, own | suite.recipe.get(cell.dataset.name, {})):
            return "another recipe"
        if cell.checkpoint not in (0, *checkpoint_steps(suite, _steps(chosen, record))):
            return "another checkpoint"
    if cell.utility not in (None, suite.utility.model_dump(mode="json")):
        return "another measure of utility"
    return None


def _steps(chosen: Selection, record: Record) -> int:
    """How many steps the training of a record's model has; those of its recipe where its defense is not at hand."""
    recipe = record.cell.recipe or {}
    defense = chosen.known.component("defense", record.labels["defense"])
    if isinstance(defense, Defense):
        with suppress(ValidationError):
            return defense.adapt_recipe(Recipe(**recipe)).steps
    return int(recipe.get("steps", 0))


def _agrees(recipe: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether a recipe has what a suite asks for, however that is written."""
    try:
        return Recipe(**{**recipe, **asked}) == Recipe(**recipe)
    except ValidationError:
        return False


def _as_labelled(suite: Suite, records: list[Record], known: Known) -> Suite:
    """The suite with its names as records write them: by the components at hand, else up to the order of options."""

    def parts(text: str) -> tuple[str, frozenset[tuple[str, frozenset[str]]]]:
        first, *others = (part.partition(":") for part in split_plus(text))
        named = [(name.strip(), frozenset(split_list(options))) for name, _, options in (first, *others)]
        return named[0][0], frozenset(named)

    changes: dict[str, Any] = {}
    for kind, lists in (("dataset", ["datasets"]), ("defense", ["defenses"]), ("attack", ["attacks", "blind"])):
        labels = {parts(record.labels[kind]): record.labels[kind] for record in records}
        for names in lists:
            found = [(text, known.component(kind, text)) for text in getattr(suite, names)]
            changes[names] = [one.label if one else labels.get(parts(text), text) for text, one in found]
    if suite.baseline in suite.defenses:
        changes["baseline"] = changes["defenses"][suite.defenses.index(suite.baseline)]
    return suite.model_copy(update=changes)
