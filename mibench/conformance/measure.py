"""Whether a measure leaves a defense trainable: the checks of a defense, of VP with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.conformance.claim import check_claim
from mibench.conformance.defense import DATA, RECIPE, check_loss, check_release, check_training
from mibench.conformance.fault import Fault
from mibench.data import split
from mibench.defenses import Defense
from mibench.diffusion.model import network_of
from mibench.diffusion.training import SingleTrainer
from mibench.errors import UsageError
from mibench.measures import Measure, measured
from mibench.modality import MEL
from mibench.names import build
from mibench.plugins import Registry
from mibench.seeds import generator

__all__ = [
    "check_measured_claim",
    "check_measured_loss",
    "check_measured_release",
    "check_measured_training",
    "check_members_apart",
]


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


def check_measured_claim(measure: Measure, registry: Registry) -> str:
    """See ``check_claim``."""
    return _on_vp(lambda defense, registry, dataset: check_claim(defense), measure, registry)


def check_members_apart(measure: Measure, registry: Registry) -> str:
    """A measure that does not say that it mixes members leaves what a step sees of one independent of the others."""
    return "it mixes members, and says so" if measure.mixes else _on_vp(_members_apart, measure, registry)


def _members_apart(defense: Defense, registry: Registry, dataset: Dataset) -> str:
    """Change one member, and see whether anything of the others changes."""
    data, recipe = split(dataset, 0), defense.adapt_recipe(RECIPE)
    members = data.members.double()
    other = torch.cat([members[1:2], members[1:]])
    chosen = [set(defense.select(x.float()).tolist()) - {0} for x in (members, other)]
    first, second = (defense.vary(x.clone(), generator(0, "vary"))[1:] for x in (members, other))
    model = defense.build_model(data.shape, data.data_variance, recipe)
    network_of(model).eval()
    training = SingleTrainer(defense, model, data.members, recipe, 0)
    batch = training.batch()
    changed = replace(batch, u=torch.cat([-batch.u[:1], batch.u[1:]]))
    before, after = (training.losses(one).detach()[1:] for one in (batch, changed))
    low, high = (_slope(defense, scale * torch.arange(1.0, 9.0, dtype=torch.float64)) for scale in (0.01, 100.0))
    for stage, same in {
        "select()": chosen[0] == chosen[1],
        "vary()": torch.equal(first, second),
        "losses()": torch.allclose(before, after),
        "reduce()": torch.allclose(low, high),
    }.items():
        if not same:
            raise Fault(f"with one member changed, its {stage} changes what a step takes from others; set mixes = True")
    return ""


def _slope(defense: Defense, losses: Tensor) -> Tensor:
    """The gradient of the loss of a batch with respect to those of its members."""
    (slope,) = torch.autograd.grad(defense.reduce(losses.requires_grad_()), losses)
    return slope


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
