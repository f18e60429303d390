"""Whether a measure leaves a defense trainable: the checks of a defense, of VP with it."""

from __future__ import annotations

from mibench.conformance.defense import check_loss, check_release, check_training
from mibench.defenses import Defense
from mibench.measures import Measure, measured
from mibench.names import build
from mibench.plugins import Registry

__all__ = ["check_measured_loss", "check_measured_release", "check_measured_training"]


def check_measured_loss(measure: Measure, registry: Registry) -> str:
    """See ``check_loss``."""
    return check_loss(_on_vp(measure, registry), registry)


def check_measured_training(measure: Measure, registry: Registry) -> str:
    """See ``check_training``."""
    return check_training(_on_vp(measure, registry), registry)


def check_measured_release(measure: Measure, registry: Registry) -> str:
    """See ``check_release``."""
    return check_release(_on_vp(measure, registry), registry)


def _on_vp(measure: Measure, registry: Registry) -> Defense:
    base = build(registry, "defense", "vp")
    assert isinstance(base, Defense)
    return measured(base, [measure])
