"""All checks of a component, one finding for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mibench.components import Component
from mibench.conformance.attack import check_exact, check_fresh, check_points
from mibench.conformance.claim import check_claim
from mibench.conformance.dataset import check_pool, check_split
from mibench.conformance.defense import check_loss, check_process, check_release, check_training
from mibench.conformance.measure import (
    check_measured_claim,
    check_measured_loss,
    check_measured_release,
    check_measured_training,
    check_members_apart,
)
from mibench.conformance.options import check_options
from mibench.errors import MibenchError, one_line
from mibench.evaluate.isolation import isolated
from mibench.file_datasets import FileDataset
from mibench.plugins import KINDS, Plugin, Registry

__all__ = ["Finding", "check", "check_plugin", "checks_of"]

Check = Callable[..., str]
"""Takes component and registry; returns a figure or remark, or raises an error that says what is wrong and what to do."""

CHECKS: dict[str, dict[str, Check]] = {
    "dataset": {"options": check_options, "pool": check_pool, "split": check_split},
    "defense": {
        "options": check_options,
        "process": check_process,
        "loss": check_loss,
        "training": check_training,
        "release": check_release,
        "claim": lambda defense, registry: check_claim(defense),
    },
    "measure": {
        "options": check_options,
        "members apart": check_members_apart,
        "claim": check_measured_claim,
        "loss": check_measured_loss,
        "training": check_measured_training,
        "release": check_measured_release,
    },
    "attack": {
        "options": check_options,
        "exact model": check_exact,
        "fresh model": check_fresh,
        "other process and data": check_points,
    },
}


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        component: such as "attack pia".
        check: such as "exact model".
        sound: whether the check has passed.
        text: a figure or remark; of a failed check what is wrong and what to do.
    """

    component: str
    check: str
    sound: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok' if self.sound else 'wrong':5}  {self.component} · {self.check}{self.text and f': {self.text}'}"


def checks_of(kind: str) -> tuple[str, ...]:
    """The names of the checks of a kind of component."""
    return tuple(CHECKS[kind])


def check(component: Component, name: str, registry: Registry) -> Finding:
    """Run one check of a component; global state is put back afterwards.

    Args:
        component: a dataset, defense or attack.
        name: of the check, one of ``checks_of`` its kind.
        registry: holds the component and the bundled ones.
    """
    kind = next(kind for kind, base in KINDS.items() if isinstance(component, base))
    try:
        with isolated(0, "check"):
            sound, text = True, CHECKS[kind][name](component, registry)
    except MibenchError as error:
        sound, text = False, one_line(error)
    except Exception as error:  # of the component's own code
        sound, text = (
            False,
            one_line(f"it raises {type(error).__name__}: {error}; let it run on every input of its kind"),
        )
    return Finding(f"{kind} {component.label}", name, sound, text)


def check_plugin(plugin: Plugin, registry: Registry, chosen: list[Component]) -> Iterator[Finding]:
    """All checks of all components of a plugin, and what is wrong with the plugin itself.

    Args:
        plugin: of the registry.
        registry: the known components.
        chosen: components with options of their own, which are checked instead of their classes' defaults.
    """
    for what, remedy in plugin.problems:
        yield Finding(f"plugin {plugin.name}", "registration", False, f"{what}; {remedy}")
    for cls in [cls for cls, owner in registry.origin.items() if owner is plugin]:
        kind = next(kind for kind, base in KINDS.items() if issubclass(cls, base))
        if issubclass(cls, FileDataset) and cls.needs_files and not any(type(one) is cls for one in chosen):
            text = f"not checked without files; give --component {cls.name}:path=…"
            yield Finding(f"{kind} {cls.name}", "files", True, text)
            continue
        for component in [one for one in chosen if type(one) is cls] or [cls()]:
            for name in CHECKS[kind]:
                yield check(component, name, registry)
