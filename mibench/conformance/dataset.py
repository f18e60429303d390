"""Whether a dataset gives a pool of the right shape and size, the same for the same seed, and a fair split."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.conformance.fault import Fault
from mibench.data import split
from mibench.evaluate.isolation import isolated
from mibench.names import validated
from mibench.plugins import Registry
from mibench.recipe import Recipe
from mibench.seeds import generator

__all__ = ["check_pool", "check_split"]

SCALE = 0.1, 10.0
"""The least and largest mean square of members that the networks' scaling and the processes' times suit."""

COPIES = 0.05
"""The largest share of non-members that may equal a member, or nearly."""


def check_pool(dataset: Dataset, registry: Registry) -> str:
    """The pool is a float tensor (N, *item), finite, large enough, and depends on its generator alone."""
    needed = dataset.members + dataset.nonmembers + dataset.reference
    digests = set()
    for attempt in ("first", "second"):
        with isolated(0, attempt):  # other global random numbers
            pool = dataset.pool(generator(3, "pool"))
        if not isinstance(pool, Tensor) or not pool.is_floating_point() or pool.dim() < 2:
            what = f"{pool.dtype} {tuple(pool.shape)}" if isinstance(pool, Tensor) else type(pool).__name__
            raise Fault(f"its pool is {what}; return float32 samples of shape (N, *item)")
        if not torch.isfinite(pool).all():
            raise Fault("its pool holds values that are not finite; leave such samples out")
        if len(pool) < needed:
            raise Fault(
                f"its pool holds {len(pool)} samples, fewer than members + nonmembers + reference = {needed}; give more, or "
                "lower these defaults"
            )
        digests.add(hashlib.sha256(pool.contiguous().numpy().tobytes()).digest())
    if len(digests) > 1:
        raise Fault("its pool differs from call to call with the same generator; draw from that generator alone")
    return f"{len(pool)} samples of shape {tuple(pool.shape[1:])}"


def check_split(dataset: Dataset, registry: Registry) -> str:
    """The recipe is valid, the members have about unit scale, parts do not repeat each other, features can be computed."""
    validated(Recipe, dataset.recipe, f"the recipe of dataset {dataset.name}")
    data = split(dataset, 0)
    if data.fingerprint == split(dataset, 1).fingerprint:
        raise Fault("seeds 0 and 1 give the same split; draw or shuffle with the generator")
    low, high = SCALE
    if not low < data.data_variance < high:
        raise Fault(f"the mean square of the members is {data.data_variance:.3g}; scale them to about 1")
    if data.near_duplicates > COPIES * len(data.nonmembers):
        raise Fault(
            f"{data.near_duplicates} of {len(data.nonmembers)} non-members equal a member, or nearly; no attack can tell these "
            "apart: leave repeated samples out of the pool"
        )
    features = dataset.modality.space(data.members)
    if features.dtype != torch.float64 or len(features) != len(data.members) or not torch.isfinite(features).all():
        raise Fault("its modality's space gives no finite float64 features, one row per sample; name another modality")
    return f"{data.near_duplicates} near-duplicates, mean square {data.data_variance:.2f}"
