"""The models of cells: what they are trained on, and how they are stored and opened."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mibench.data import Split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import EvaluationCache, Model, network_of
from mibench.errors import MibenchError
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.source import code_digest
from mibench.suite.cells import Cell

__all__ = ["blank_model", "heldout_loss", "model_code", "open_model", "save_model", "training_data", "training_seed"]


def training_data(cell: Cell, data: Split) -> Tensor:
    """The samples that the model of a cell is trained on, (M, *item).

    These are the members. A shadow model has a random draw of as many samples: an "online" one from members and
    non-members, an "offline" one from the reference. A "fresh" model has the first samples of the reference; its shadow
    models are drawn as those of a trained target.

    Where the dataset has canaries, those of this model come last: for the target the ones that are included, for an online
    shadow model a random half of all, for an offline one and for a fresh model half of as many others.
    """
    samples = _samples(cell, data)
    return torch.cat([samples, _canaries(cell, data)]) if len(data.canaries) else samples


def _samples(cell: Cell, data: Split) -> Tensor:
    """What the model is trained on besides canaries."""
    if cell.shadow is None:
        return data.reference[: len(data.members)] if cell.model_kind == "fresh" else data.members
    kind, index = cell.shadow
    pool = torch.cat([data.members, data.nonmembers]) if kind == "online" else data.reference
    order = torch.randperm(len(pool), generator=generator(cell.seed, "shadow", kind, index))
    return pool[order[: len(data.members)]]


def _canaries(cell: Cell, data: Split) -> Tensor:
    """The canaries that the model is trained on."""
    if cell.shadow is None and cell.model_kind != "fresh":
        return data.canaries[data.included]
    kind, index = cell.shadow or ("fresh", 0)
    chance, pool = generator(cell.seed, "other canaries", kind, index), data.canaries
    if kind != "online":
        pool = cell.dataset.modality.canaries(data.reference, len(pool), chance)
    return pool[torch.randperm(len(pool), generator=chance)[: len(pool) // 2]]


def training_seed(cell: Cell) -> int:
    """The seed of initial weights, batches and noise: the cell's own, and another for each shadow model."""
    return generator(cell.seed, "shadow", *cell.shadow).initial_seed() if cell.shadow else cell.seed


def blank_model(cell: Cell, data: Split, device: str) -> Model:
    """The model of a cell before training."""
    samples = training_data(cell, data)
    variance = samples.double().square().mean().item()
    built = (data.shape, variance, cell.own_recipe, device, training_seed(cell))
    if not len(data.conditions):
        return cell.defense.build_model(*built)
    model = cell.defense.build_model(*built, conditions=data.condition_of(samples))
    model.condition_of = data.condition_of
    return model


def model_code(cell: Cell) -> dict[str, str]:
    """The digests of the code of dataset and defense, by kind."""
    digests = {"dataset": code_digest(cell.dataset), "defense": code_digest(cell.defense)}
    return {kind: digest for kind, digest in digests.items() if digest}


def save_model(cell: Cell, store: Store, data: Split, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Store weights (or the points of an exact model), with facts for the record."""
    if data.normalisation != (0.0, 1.0):
        facts = facts | {"normalisation": list(data.normalisation)}
    meta = {"spec": cell.model_spec(), "split": data.fingerprint, "code": model_code(cell), **facts}
    store.save("models", cell.model_key, tensors, meta)


def open_model(
    cell: Cell, store: Store, data: Split, device: str, cache: EvaluationCache | None = None
) -> tuple[Model, dict[str, Any]]:
    """The stored model of a cell, and the facts stored with it.

    Raises:
        MibenchError: where it is not in the store, is corrupt, or was trained on another split.
    """
    tensors, facts = store.load("models", cell.model_key)
    if facts["split"] != data.fingerprint:
        raise MibenchError(
            f"the model of {cell.dataset.label}, seed {cell.seed}, was trained on another split (another version of a library "
            "may have changed the data); use a fresh --store"
        )
    if cell.model_kind == "trained":
        model = blank_model(cell, data, device)
        network_of(model).load_state_dict(tensors)
        network_of(model).eval()
    else:
        model = Model(cell.defense.process(), ExactDenoiser(tensors["points"].to(device)), data.shape, device)
    model.cache = cache
    return model, facts


@torch.no_grad()
def heldout_loss(model: Model, samples: Tensor, seed: int, draws: int = 64) -> float:
    """The unweighted loss per dimension on samples (B, *item), at times spread evenly over the horizon.

    The noise at each time is the same for all samples, and for all calls with this seed.
    """
    process, noise = model.process, generator(seed, "held loss")
    times = (process.t_min + (process.horizon - process.t_min) * (torch.arange(draws) + 0.5) / draws).tolist()
    x = samples.to(model.device, torch.float64)
    losses = []
    for t in times:
        eps = torch.randn(model.state_shape, generator=noise).double().to(model.device)
        losses.append(model.residual(x, eps, t).square().mean())
    return torch.stack(losses).mean().item()
