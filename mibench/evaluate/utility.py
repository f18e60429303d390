"""Utility: samples of a model, and their distance to data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mibench.data import Split, completed, completed_split, nearest, on_one_scale
from mibench.diffusion.model import Model
from mibench.diffusion.sampling import sample
from mibench.errors import MibenchError
from mibench.files import sha256
from mibench.metrics.features import FeatureSpace
from mibench.metrics.frechet import Reference, frechet, frechet_to, moments
from mibench.metrics.inception import SIDE, Inception, asked_for
from mibench.metrics.kid import kid
from mibench.results.figures import Distances, UtilityMetrics
from mibench.results.record import digest_of
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.suite.cells import Cell

__all__ = ["gaussian", "utility_metrics"]

SUBSETS = 10
"""How many subsets the kernel distance is averaged over."""


@dataclass(frozen=True)
class _Sets:
    """Samples of the model, copies of members, draws from a Gaussian, the reference, and the indices (R,) of its halves."""

    drawn: Tensor
    copies: Tensor
    gauss: Tensor
    reference: Tensor
    halves: tuple[Tensor, Tensor]


def utility_metrics(
    cell: Cell, model: Model, data: Split, store: Store, key: str, say: Callable[[str], None]
) -> UtilityMetrics:
    """Draw samples, store them, and measure them, with three baselines.

    Args:
        cell: says how the samples are drawn.
        model: draws them.
        data: the split.
        store: takes the samples, and the features of reference and baselines, which all models of a split share.
        key: of the samples in the store.
        say: takes a line where images cannot be measured with Inception features.

    Raises:
        Diverged: where the sampler leaves the finite numbers.
        NotApplicable: where guidance was asked for and the model knows no empty condition.
        MibenchError: where Inception weights were asked for and cannot be had.
    """
    how, n = cell.utility, cell.utility.samples
    prompts = data.draw_prompts(n, generator(cell.seed, "prompts")) if len(data.prompts) else torch.empty(0)
    if model.is_conditional:
        model.under(prompts)
    chance = generator(cell.seed, "samples")
    drawn = sample(model, n, chance, how.evaluations, how.method, how.grid, how.guidance).float().cpu()
    drawn, data = completed(cell.dataset, data, drawn, prompts), completed_split(cell.dataset, data)
    digest = store.save("samples", key, {"samples": drawn}, {"spec": cell.spec()})["digest"]
    data, drawn = on_one_scale(cell.dataset, data, drawn)
    chance = generator(cell.seed, "baselines")
    copies = data.members[torch.randint(len(data.members), (n,), generator=chance)]
    gauss = gaussian(data.members, n, chance)
    order = torch.randperm(len(data.reference), generator=chance)
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    sets = _Sets(drawn, copies, gauss, data.reference, halves)
    space, inception = cell.dataset.modality.space, _inception(cell, model, say)
    limit = nearest(data.reference, data.members).quantile(0.01)
    return UtilityMetrics(
        **dict(_distances(space, sets, store)),
        inception=_distances(inception, sets, store) if inception else None,
        n=n,
        reference=len(data.reference),
        copied=(nearest(drawn, data.members) < limit).double().mean().item(),
        members_distance=frechet(space(drawn), _features(space, data.members, store)[0]),
        samples=digest,
    )


def _inception(cell: Cell, model: Model, say: Callable[[str], None]) -> Inception | None:
    """The feature space of the FID; None where the samples are no such images, or its weights are missing (with one line)."""
    if not cell.dataset.modality.images or min(model.shape[1:]) < SIDE or model.shape[0] not in (1, 3):
        return None
    try:
        return Inception(device=model.device)
    except MibenchError as error:
        if asked_for():
            raise
        say(f"no FID, FD ({cell.dataset.modality.space.name}) instead: {error}")
        return None


def _distances(space: FeatureSpace, sets: _Sets, store: Store) -> Distances:
    """The distances of samples and baselines to the reference in one feature space."""
    features, key = _features(space, sets.reference, store)
    reference = _reference(features, key, store)
    drawn = space(sets.drawn)
    baselines = (_features(space, x, store)[0] for x in (sets.copies, sets.gauss))
    distance, copies, gauss = (frechet_to(*moments(x), reference) for x in (drawn, *baselines))
    return Distances(
        space=space.name,
        distance=distance,
        copies=copies,
        gauss=gauss,
        null=frechet(*(features[half] for half in sets.halves)),
        fraction=(distance - copies) / (gauss - copies),
        kid=kid(drawn, features, subsets=SUBSETS).mean,
    )


def _features(space: FeatureSpace, x: Tensor, store: Store) -> tuple[Tensor, str]:
    """Features of samples that many models share, computed once per store, and their key."""
    content = sha256(x.contiguous().numpy().tobytes())
    key = digest_of({"space": space.name, "version": space.version, "shape": list(x.shape), "content": content})
    if not store.has("features", key):
        store.save("features", key, {"features": space(x)}, {"space": space.name})
    return store.load("features", key)[0]["features"], key


def _reference(features: Tensor, key: str, store: Store) -> Reference:
    """What the distance needs of features with this key, computed once per store."""
    key = digest_of({"reference": key})
    if not store.has("features", key):
        store.save("features", key, vars(Reference.of(*moments(features))), {})
    return Reference(**store.load("features", key)[0])


def gaussian(members: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """Draws from the Gaussian with the members' mean and covariance, clipped to their range, (count, *item).

    With fewer members than dimensions, the centred members C (M, d) are a root of the covariance CᵀC / (M − 1), so that no
    d × d matrix is needed.
    """
    flat = members.flatten(1).double()
    (m, d), mean = flat.shape, flat.mean(0)
    if d > m:
        drawn = torch.randn(count, m, generator=chance, dtype=torch.float64) @ (flat - mean) / (m - 1) ** 0.5
    else:
        values, vectors = torch.linalg.eigh(torch.cov(flat.T))
        drawn = torch.randn(count, d, generator=chance, dtype=torch.float64) * values.clamp_min(0).sqrt() @ vectors.T
    clipped: Tensor = (mean + drawn).clamp(flat.amin(0), flat.amax(0)).float().view(count, *members.shape[1:])
    return clipped
