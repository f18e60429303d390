"""Utility: samples of a model, and how far they are from data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mibench.data import Split, nearest
from mibench.diffusion.model import Model
from mibench.diffusion.sampling import sample
from mibench.errors import MibenchError
from mibench.files import sha256
from mibench.metrics.features import FeatureSpace
from mibench.metrics.frechet import cached_reference, frechet, frechet_to, moments
from mibench.metrics.inception import SIDE, Inception, asked_for
from mibench.metrics.kid import kid
from mibench.results.figures import Distances, UtilityMetrics
from mibench.results.record import digest_of
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.suite.cells import Cell

__all__ = ["gaussian", "utility_metrics"]

SUBSETS = 10
"""Subsets that the kernel distance is averaged over."""


@dataclass(frozen=True)
class _Sets:
    """What is measured: samples of the model, copies of members, a Gaussian's draws, the reference, and its halves (R,)."""

    drawn: Tensor
    copies: Tensor
    gauss: Tensor
    reference: Tensor
    halves: tuple[Tensor, Tensor]


def utility_metrics(
    cell: Cell, model: Model, data: Split, store: Store, key: str, say: Callable[[str], None]
) -> UtilityMetrics:
    """Draw samples, store them, and measure them beside three baselines.

    Args:
        cell: says how they are drawn.
        model: the model.
        data: its split.
        store: takes the samples, and the features of what all models of a split are measured beside.
        key: of the samples in the store.
        say: told why images are not measured with Inception features.

    Raises:
        Diverged: where the sampler leaves the finite numbers.
        MibenchError: where Inception weights were asked for and cannot be had.
    """
    how, n = cell.utility, cell.utility.samples
    drawn = sample(model, n, generator(cell.seed, "samples"), how.evaluations, how.method, how.grid).float().cpu()
    chance = generator(cell.seed, "baselines")
    copies = data.members[torch.randint(len(data.members), (n,), generator=chance)]
    gauss = gaussian(data.members, n, chance)
    order = torch.randperm(len(data.reference), generator=chance)
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    sets = _Sets(drawn, copies, gauss, data.reference, halves)
    space, inception = cell.dataset.modality.space, _inception(cell, model, say)
    limit = nearest(data.reference, data.members).quantile(0.01)
    digest = store.save("samples", key, {"samples": drawn}, {"spec": cell.spec()})["digest"]
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
    """The space of the FID, for images that it takes and where its weights are at hand; else None, after a line on why."""
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
    """How far samples and baselines are from the reference in one space."""
    features, key = _features(space, sets.reference, store)
    reference = cached_reference(store.root / "features", key, lambda: moments(features))
    drawn = space(sets.drawn)
    known = (_features(space, x, store)[0] for x in (sets.copies, sets.gauss))
    distance, copies, gauss = (frechet_to(*moments(x), reference) for x in (drawn, *known))
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
    """Features of samples that many models are measured beside, from the store where they are there, and their key."""
    content = sha256(x.contiguous().numpy().tobytes())
    key = digest_of({"space": space.name, "version": space.version, "shape": list(x.shape), "content": content})
    if not store.has("features", key):
        store.save("features", key, {"features": space(x)}, {"space": space.name})
    return store.load("features", key)[0]["features"], key


def gaussian(members: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """Draws from the Gaussian with the members' mean and covariance, clipped to their range, (count, *item).

    Where members are fewer than dimensions, their covariance is CᵀC / (M − 1) with the centred members C (M, d) as its root:
    the same distribution without a d × d matrix.
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
