"""Comparison of records with the components at hand: their versions, code, and what they say of themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mibench.components import Attack, Component
from mibench.defenses import Defense
from mibench.errors import MibenchError
from mibench.names import build
from mibench.plugins import Registry, code_digest
from mibench.results.record import Record

__all__ = ["Known"]


@dataclass(frozen=True)
class Known:
    """The components at hand.

    Attributes:
        versions: by kind and name.
        find: gives the component of a kind and a label, None where it, or its data, is not at hand.
    """

    versions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    find: Callable[[str, str], Component | None] = lambda kind, label: None

    @classmethod
    def of(cls, registry: Registry) -> Known:
        """Those that are registered."""

        @functools.cache
        def find(kind: str, label: str) -> Component | None:
            try:
                component = build(registry, kind, label)
                component.spec()  # an error where the data are not at hand
                return component
            except MibenchError:
                return None

        components = registry.components.items()
        return cls({(kind, name): one.version for kind, named in components for name, one in named.items()}, find)

    def problems(self, record: Record) -> list[str]:
        """What the components contradict in a record; one of an older version is only said to be stale."""
        return [*self._stale(record)] or [*self._contradicted(record)]

    def changed_code(self, records: Iterable[Record]) -> list[str]:
        """The names of components whose code has changed since records were made, at the same version."""
        changed = set()
        for record in records:
            if record.code and not any(self._stale(record)):
                for kind, component in self._components(record).items():
                    if (now := code_digest(component)) and record.code.get(kind, now) != now:
                        changed.add(component.name)
        return sorted(changed)

    def _components(self, record: Record) -> dict[str, Component]:
        """The components of a record that are at hand, by kind."""
        components = {kind: self.find(kind, record.labels[kind]) for kind in record.cell.components()}
        return {kind: component for kind, component in components.items() if component}

    def _stale(self, record: Record) -> Iterator[str]:
        for kind, spec in record.cell.components().items():
            now = self.versions.get((kind, spec.name), spec.version)
            if spec.version < now:
                yield f"is stale: {kind} {spec.name} was at version {spec.version} and is now at {now}; run the suite again"

    def _contradicted(self, record: Record) -> Iterator[str]:
        """Options, tier, adaptivity and published setting that are not those of the components."""
        components, specs, metrics = self._components(record), record.cell.components(), record.attack
        for kind, component in components.items():
            if component.spec() != specs[kind].model_dump(mode="json"):
                yield f"its {kind} is not the one that its label {record.labels[kind]} names"
        attack, defense = components.get("attack"), components.get("defense")
        if metrics is None or not isinstance(attack, Attack):
            return
        if metrics.tier != attack.tier:
            yield f"its tier is {metrics.tier}, that of {attack.label} is {attack.tier}"
        if isinstance(defense, Defense) and metrics.adaptive != defense.meets_adaptively(attack):
            yield f"adaptive is {metrics.adaptive}, for {attack.label} on {defense.label} it is {not metrics.adaptive}"
        published = attack.published if attack.published in metrics.settings else min(metrics.settings)
        if metrics.published.setting != published:
            yield f"published is {metrics.published.setting}, for {attack.label} it is {published}"
