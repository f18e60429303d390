"""Comparison of records with the components at hand: their versions, options, code, and what they say of themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mibench.components import Attack, Component
from mibench.defenses import Defense
from mibench.errors import MibenchError, UsageError
from mibench.names import build
from mibench.plugins import Registry
from mibench.results.facts import ComponentFacts
from mibench.results.figures import AuditMetrics
from mibench.results.record import Record
from mibench.source import code_changed, code_digest

__all__ = ["Known"]


@dataclass(frozen=True)
class Known:
    """The components at hand.

    Attributes:
        versions: of the registered components, by kind and name.
        find: gives the component of a kind and a label, None where it is not at hand; a UsageError where its options are
            refused.
        newest: the newest version in other records, by kind and name; see ``among``.
    """

    versions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    find: Callable[[str, str], Component | None] = lambda kind, label: None
    newest: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: Registry) -> Known:
        """Those that are registered."""
        components = registry.components.items()
        versions = {(kind, name): one.version for kind, named in components for name, one in named.items()}
        return cls(versions, functools.cache(functools.partial(build, registry)))

    def among(self, records: Iterable[Record]) -> Known:
        """The same, where components that are not registered count as current at the newest version in these records."""
        newest: dict[tuple[str, str], int] = {}
        for kind, facts in (part for record in records for part in _parts(record)):
            newest[kind, facts.name] = max(newest.get((kind, facts.name), 0), facts.version)
        return replace(self, newest=newest)

    def unknown(self, record: Record) -> dict[str, list[str]]:
        """The parts of a record that are not registered, such as "attack pia", by the kind whose label names them."""
        missing: dict[str, list[str]] = {}
        for kind, facts in _parts(record):
            if (kind, facts.name) not in self.versions:
                missing.setdefault("defense" if kind == "measure" else kind, []).append(f"{kind} {facts.name}")
        return missing

    def stale(self, record: Record) -> str:
        """Why a record is not of the present components, "" where nothing says so."""
        for kind, facts in _parts(record):
            now = self.versions.get((kind, facts.name), self.newest.get((kind, facts.name), facts.version))
            if facts.version != now:
                return f"{kind} {facts.name} was at version {facts.version} and is now at {now}"
        missing = self.unknown(record)
        for kind, facts in record.cell.components().items():
            if kind not in missing and not self._still_named(kind, record.labels[kind], facts):
                return f"its {kind} is not the one that its label {record.labels[kind]} names"
        return ""

    def problems(self, record: Record) -> list[str]:
        """What the components contradict in a record; one that is stale is only said to be so."""
        if reason := self.stale(record):
            return [f"is stale: {reason}; run the suite again"]
        return [*self._contradicted(record)]

    def changed_code(self, records: Iterable[Record]) -> list[str]:
        """The names of components whose code has changed since records were made, at the same version."""
        changed = set()
        for record in records:
            if record.code and not self.stale(record):
                for kind in record.cell.components():
                    component = self.component(kind, record.labels[kind])
                    if component and code_changed(record.code.get(kind), code_digest(component)):
                        changed.add(component.name)
        return sorted(changed)

    def component(self, kind: str, label: str) -> Component | None:
        """The component of a label, None where it is not at hand or its options are refused."""
        with suppress(UsageError):
            return self.find(kind, label)
        return None

    def _still_named(self, kind: str, label: str, facts: ComponentFacts) -> bool:
        """Whether a label stands for these options and data; data that are not at hand are taken as they are."""
        try:
            component = self.find(kind, label)
        except UsageError:
            return False
        with suppress(MibenchError):  # of ``spec``, where the data are not at hand
            return component is None or component.spec() == facts.model_dump(mode="json")
        return True

    def _contradicted(self, record: Record) -> Iterator[str]:
        """Tier, adaptivity and published setting that are not those of the components."""
        metrics, labels = record.attack or record.audit, record.labels
        attack, defense = self.component("attack", labels["attack"]), self.component("defense", labels["defense"])
        if metrics is None or not isinstance(attack, Attack):
            return
        if metrics.tier != attack.tier:
            yield f"its tier is {metrics.tier}, that of {attack.label} is {attack.tier}"
        if isinstance(defense, Defense) and metrics.adaptive != defense.meets_adaptively(attack):
            yield f"adaptive is {metrics.adaptive}, for {attack.label} on {defense.label} it is {not metrics.adaptive}"
        if isinstance(metrics, AuditMetrics):
            return
        published = attack.published if attack.published in metrics.settings else min(metrics.settings)
        if metrics.published.setting != published:
            yield f"published is {metrics.published.setting}, for {attack.label} it is {published}"


def _parts(record: Record) -> Iterator[tuple[str, ComponentFacts]]:
    """The components of a record with those that they wrap, each with its kind."""
    for kind, facts in record.cell.components().items():
        part: ComponentFacts | None = facts
        while part:
            yield kind, part
            yield from (("measure", measure) for measure in part.measures or ())
            part = part.base
