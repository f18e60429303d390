"""Utility: samples of a model, and how far they are from data."""

from __future__ import annotations

import torch
from torch import Tensor

from mibench.context import generator
from mibench.data import Split, nearest
from mibench.diffusion.model import Model
from mibench.diffusion.sampling import sample
from mibench.harness.cells import Cell
from mibench.harness.records import UtilityMetrics
from mibench.harness.store import Store
from mibench.metrics.features import feature_space
from mibench.metrics.frechet import frechet

__all__ = ["gaussian", "utility_metrics"]


def utility_metrics(cell: Cell, model: Model, data: Split, store: Store, key: str) -> UtilityMetrics:
    """Draw samples, store them, and measure them beside three baselines."""
    how, n = cell.utility, cell.utility.samples
    drawn = sample(model, n, generator(cell.seed, "samples"), how.evaluations, how.method, how.grid).float().cpu()
    chance = generator(cell.seed, "baselines")
    copies = data.members[torch.randint(len(data.members), (n,), generator=chance)]
    gauss = gaussian(data.members, n, chance)
    space = feature_space(cell.dataset.modality)
    reference = space(data.reference)
    half = torch.randperm(len(reference), generator=chance)
    halves = half[: len(half) // 2], half[len(half) // 2 :]
    distance, from_copies, from_gauss = (frechet(space(x), reference) for x in (drawn, copies, gauss))
    limit = nearest(data.reference, data.members).quantile(0.01)
    digest = store.save("samples", key, {"samples": drawn}, {"spec": cell.spec()})["digest"]
    return UtilityMetrics(
        space=space.name,
        n=n,
        reference=len(reference),
        distance=distance,
        copies=from_copies,
        gauss=from_gauss,
        null=frechet(reference[halves[0]], reference[halves[1]]),
        fraction=(distance - from_copies) / (from_gauss - from_copies),
        copied=(nearest(drawn, data.members) < limit).double().mean().item(),
        members_distance=frechet(space(drawn), space(data.members)),
        samples=digest,
    )


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
