"""The released model that the attacks of a job share, put back when one of them has changed it."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from mibench.data import calibration_size, split
from mibench.diffusion.denoisers import Denoiser, ExactDenoiser
from mibench.diffusion.model import Cost, EvaluationCache, Model
from mibench.errors import NotApplicable
from mibench.evaluate.isolation import isolated
from mibench.evaluate.models import open_model
from mibench.results.store import Store
from mibench.suite.cells import Cell

__all__ = ["SharedModel", "Target"]


class SharedModel:
    """A model that several attacks query, with a copy of its denoiser.

    Args:
        model: the model; its denoiser must not change.
        copied: whether a copy of the denoiser is kept, to compare with and to put back. Without one, torch's counts of changes
            in place tell whether a weight has changed, and nothing can be put back: for models too large to be held twice.
    """

    def __init__(self, model: Model, copied: bool = True) -> None:
        self._model = model
        self._original = copy.deepcopy(model.denoiser) if copied else None
        self._counts = _counts(model.denoiser)

    def counted(self, cost: Cost) -> Model:
        """The model, with access to all of it; its evaluations are added to ``cost``."""
        counted = copy.copy(self._model)
        counted.cost = cost
        return counted

    def unchanged(self) -> bool:
        """Whether the denoiser has its weights, mode and gradient flags, and no hooks."""
        if self._original is None:
            return _counts(self._model.denoiser) == self._counts
        return _same(self._model.denoiser, self._original)

    def restore(self) -> bool:
        """Put weights and mode back; whether the denoiser is now as it was."""
        ours, original = self._model.denoiser, self._original
        if isinstance(ours, nn.Module) and isinstance(original, nn.Module):
            with suppress(RuntimeError):  # the weights have other names or shapes now
                ours.load_state_dict(original.state_dict())
            ours.train(original.training)
        return self.unchanged()


class Target:
    """The model under attack: its data, and the model as its defense releases it.

    Args:
        cell: any cell of the model.
        store: holds the model.
        device: "cpu" or "cuda".
        given: a model that is audited, and what is known of it; None where the store holds the model.

    Attributes:
        data: the split of the samples.
        facts: what the store knows of the model; ``digest`` is that of its weights.
        cache: the answers of the model and of shadow models to the present batch.
        released: the model that is attacked and sampled.
    """

    def __init__(
        self, cell: Cell, store: Store, device: str, given: tuple[Model, dict[str, Any]] | None = None
    ) -> None:
        self.cell, self.store, self.device = cell, store, device
        self.data = split(cell.dataset, cell.seed)
        self.cache = EvaluationCache()
        model, self.facts = given or open_model(cell, store, self.data, device, self.cache)
        model.cache = self.cache
        self.process = model.process
        self.released = SharedModel(model, copied=False) if given else SharedModel(self.release(model))

    @property
    def weights(self) -> str:
        """The digest of the model's weights."""
        return str(self.facts["digest"])

    @property
    def calibration_sizes(self) -> dict[str, int]:
        """How many members and non-members attacks may learn from; they come first."""
        return {name: calibration_size(getattr(self.data, name)) for name in ("members", "nonmembers")}

    def calibration(self) -> tuple[Tensor, Tensor]:
        """Members and non-members that attacks may learn from, float64 on the device."""
        members, nonmembers = (
            getattr(self.data, name)[:size].to(self.device, torch.float64)
            for name, size in self.calibration_sizes.items()
        )
        return members, nonmembers

    def sides(self, audit: bool) -> tuple[Tensor, Tensor]:
        """Members and non-members, or, for an audit, the canaries that are included and those that are not."""
        data = self.data
        return (
            (data.canaries[data.included], data.canaries[~data.included]) if audit else (data.members, data.nonmembers)
        )

    def release(self, model: Model, *shadow: str | int) -> Model:
        """A copy of a model as the defense releases it.

        The defense has random numbers of its own, others for each shadow model (kind and number). Answers are cached only
        where the model is released unchanged; others may be random, or limited in number.
        """
        own = copy.deepcopy(model.denoiser)
        with isolated(self.cell.seed, "release", *shadow):
            released = self.cell.defense.release(
                Model(model.process, own, model.shape, model.device, model.cache, model.condition_of)
            )
        if released.denoiser is not own or not _same(own, model.denoiser):
            released.cache = None
        return released

    def model_for(self, cell: Cell) -> Model:
        """The released model with the access that a cell's attack declares, its evaluations counted from 0.

        Raises:
            NotApplicable: where the attack needs weights and the model has none.
        """
        model = self.released.counted(Cost())
        if cell.attack is None:
            model.cache = None  # a sampler meets no state twice
            return model
        if cell.attack.access == "weights" and not isinstance(model.denoiser, nn.Module):
            exact = isinstance(model.denoiser, ExactDenoiser)
            raise NotApplicable("the exact model has no weights" if exact else "this defense releases no weights")
        return model.for_access(cell.attack.access, f"attack {cell.attack.label}")


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _counts(denoiser: Denoiser) -> list[object]:
    """What differs once a denoiser was changed: tensors and torch's counts of changes in place, modes, flags and hooks."""
    if not isinstance(denoiser, nn.Module):
        return [denoiser]
    tensors = (*denoiser.parameters(), *denoiser.buffers())
    hooks = [len(getattr(module, kind)) for module in denoiser.modules() for kind in HOOKS]
    return [(id(t), t._version, t.requires_grad, t.data_ptr()) for t in tensors] + [denoiser.training, hooks]


def _same(one: Denoiser, other: Denoiser) -> bool:
    """Whether two denoisers have the same class, weights, mode and gradient flags, and no hooks."""
    if type(one) is not type(other):
        return False
    if not (isinstance(one, nn.Module) and isinstance(other, nn.Module)):
        return True
    weights, expected = one.state_dict(), other.state_dict()
    return (
        not any(getattr(module, kind) for module in one.modules() for kind in HOOKS)
        and one.training == other.training
        and [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in other.parameters()]
        and weights.keys() == expected.keys()
        and all(torch.equal(value, expected[name]) for name, value in weights.items())
    )
