"""Whether a measure leaves a defense trainable: the checks of a defense, of VP with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.conformance.defense import DATA, RECIPE, check_loss, check_release, check_training
from mibench.defenses import Defense
from mibench.errors import UsageError
from mibench.measures import Measure, measured
from mibench.modality import MEL
from mibench.names import build
from mibench.plugins import Registry

__all__ = ["check_measured_loss", "check_measured_release", "check_measured_training"]


class MadeUpMels(Dataset):
    """Normal numbers in the shape of mels."""

    name = "made-up-mels"
    modality = MEL

    def pool(self, generator: torch.Generator) -> Tensor:
        """(N, 1, 16, 16)."""
        return torch.randn(self.members + self.nonmembers + self.reference, 1, 16, 16, generator=generator)


def check_measured_loss(measure: Measure, registry: Registry) -> str:
    """See ``check_loss``."""
    return _on_vp(check_loss, measure, registry)


def check_measured_training(measure: Measure, registry: Registry) -> str:
    """See ``check_training``."""
    return _on_vp(check_training, measure, registry)


def check_measured_release(measure: Measure, registry: Registry) -> str:
    """See ``check_release``."""
    return _on_vp(check_release, measure, registry)


def _on_vp(check: Callable[[Defense, Registry, Dataset], str], measure: Measure, registry: Registry) -> str:
    """Run a check of VP with the measure, on the first kind of data that the measure does not refuse."""
    base = build(registry, "defense", "vp")
    assert isinstance(base, Defense)
    refusal = ""
    for dataset in (
        build(registry, "dataset", DATA),
        build(registry, "dataset", DATA.replace("digits", "swiss-roll")),
        MadeUpMels(members=20, nonmembers=20, reference=20),
    ):
        assert isinstance(dataset, Dataset)
        try:
            measure.check(base, dataset, RECIPE)
        except UsageError as error:
            refusal = str(error)
        else:
            return check(measured(base, [measure]), registry, dataset)
    return f"not tried, since it refuses images, points and mels: {refusal}"
