"""Making models and opening them: those that are attacked, and the attacker's shadow models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mibench.data import Split, split
from mibench.diffusion.compiled import compiled
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import EvaluationCache, Model
from mibench.diffusion.optimise import Callbacks
from mibench.diffusion.stacked import can_stack, measure_speed, train_stacked
from mibench.diffusion.training import train
from mibench.errors import MibenchError
from mibench.evaluate.partial import Partial
from mibench.results.record import digest_of
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.suite.cells import Cell

__all__ = ["make_models", "open_model", "training_data"]

Progress = Callable[[int, int], None]
EVERY = 60.0


def training_data(cell: Cell, data: Split) -> Tensor:
    """What the model of a cell is trained on, (M, *item).

    The members; for a shadow a draw of as many, "online" from the samples to be judged, "offline" from the reference. On
    fresh data as many of the reference take the members' place, and shadows hold what they hold elsewhere.
    """
    if cell.shadow is None:
        return data.reference[: len(data.members)] if cell.model_kind == "fresh" else data.members
    kind, index = cell.shadow
    known = torch.cat([data.members, data.nonmembers]) if kind == "online" else data.reference
    order = torch.randperm(len(known), generator=generator(cell.seed, "shadow", kind, index))
    return known[order[: len(data.members)]]


def _training_seed(cell: Cell) -> int:
    """Of weights, batches and noise: the cell's own, another for each shadow."""
    return generator(cell.seed, "shadow", *cell.shadow).initial_seed() if cell.shadow else cell.seed


class _Training:
    """One training: the cells that are its checkpoints, their data and the blank model.

    Args:
        cells: that differ in checkpoint alone.
        device: where the model lives.
    """

    def __init__(self, cells: list[Cell], device: str) -> None:
        self.cells, self.first = cells, cells[0]
        self.data = split(self.first.dataset, self.first.seed)
        self.members = training_data(self.first, self.data)
        self.seed = _training_seed(self.first)
        variance = self.members.double().square().mean().item()
        self.model = self.first.defense.build_model(self.data.shape, variance, self.first.recipe, device, self.seed)
        self.snapshots: dict[int, dict[str, Tensor]] = {}

    def store(self, store: Store, facts: dict[str, Any]) -> None:
        """Store the trained model as its cells' checkpoints want it."""
        denoiser: Any = self.model.denoiser
        final = {name: value.clone() for name, value in denoiser.state_dict().items()}
        steps, found = self.first.recipe.steps, []
        for cell in self.cells:
            state, told = final, facts
            if cell.checkpoint:
                state, epochs = self.snapshots[cell.checkpoint], facts["epochs_per_member"] * cell.checkpoint / steps
                told = facts | {"steps": cell.checkpoint, "epochs_per_member": epochs, "loss": None}
            denoiser.load_state_dict(state)
            if cell.shadow is None:
                heldout = self.data.nonmembers[: len(self.data.members)]
                for name, part in (("member_loss", self.data.members), ("heldout_loss", heldout)):
                    told = told | {name: _held_loss(self.model, part, cell.seed)}
            found.append((cell, state, told))
        for cell, state, told in found:
            _keep(cell, store, self.data, state, told)


def make_models(
    cells: list[Cell],
    store: Store,
    device: str,
    progress: Progress,
    say: Callable[[str], None],
    every: float = EVERY,
) -> None:
    """Make and store the models of cells that differ in seed, shadow and checkpoint alone.

    Shadow models are trained together where that is possible and measured to be faster; else one by one, by the same sums,
    so that their weights do not depend on it, nor on which others are made beside them. A training that was interrupted goes
    on where it was kept last, as it was begun, to the same weights on the same device.

    Args:
        cells: whose models are to be made.
        store: takes the models, and the trainings under way.
        device: "cpu" or "cuda".
        progress: called now and then with steps done and steps in all.
        say: takes lines for the log of the run.
        every: seconds after which a training under way is kept.

    Raises:
        MibenchError: where a model cannot be trained; models made before are kept.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.model_kind == "trained":
            groups.setdefault(cell.training_key, []).append(cell)
        else:
            data = split(cell.dataset, cell.seed)
            facts = {"steps": None, "seconds": 0.0, "loss": None}
            _keep(cell, store, data, {"points": training_data(cell, data)}, facts)
    if not groups:
        return
    trainings = [_Training(group, device) for group in groups.values()]

    def partial(title: str, *some: _Training) -> Partial:
        facts = {"device": device, "torch": torch.__version__, "splits": [one.data.fingerprint for one in some]}
        key = digest_of([one.first.training_key for one in some])
        return Partial(store, key, facts, title, say, every)

    first, alone = trainings[0].first, [partial(one.first.model_title, one) for one in trainings]
    if not (first.shadow and can_stack(first.defense, [one.model for one in trainings])):
        _train_alone(trainings, store, device, progress, alone, say, stacked=False)
        return
    whole = partial(f"the training of {len(trainings)} models of {first.defense.label}", *trainings)
    if len(trainings) > 1 and not any(one.there for one in alone) and (whole.there or _pays(trainings, say)):
        try:
            _train_together(trainings, store, device, progress, whole)
            return
        except FloatingPointError as error:
            say(f"trained together a loss left the finite numbers ({error}); one by one now")
            whole.drop()
    _train_alone(trainings, store, device, progress, alone, say, stacked=True)


def _pays(trainings: list[_Training], say: Callable[[str], None]) -> bool:
    """Whether training together is faster."""
    first = trainings[0].first
    models, members = [one.model for one in trainings], [one.members for one in trainings]
    speed = measure_speed(first.defense, models, members, first.recipe, [one.seed for one in trainings])
    say(
        f"{len(models)} models of {first.defense.label} train {'together' if speed.pays else 'one by one'}: "
        f"{speed.single:.2f} ms a step and model one by one, {speed.stacked:.2f} together"
    )
    return speed.pays


def _train_together(
    trainings: list[_Training], store: Store, device: str, progress: Progress, partial: Partial
) -> None:
    """Train all at once, then store them."""
    first = trainings[0].first
    partial.begin()
    facts = train_stacked(
        first.defense,
        [one.model for one in trainings],
        [one.members for one in trainings],
        first.recipe,
        [one.seed for one in trainings],
        _callbacks(trainings, progress, partial),
    )
    seconds = round(partial.seconds / len(trainings), 3)
    for one, told in zip(trainings, facts, strict=True):
        one.store(store, told | {"seconds": seconds, "device": device, "together": len(trainings)})
    partial.drop()


def _train_alone(
    trainings: list[_Training],
    store: Store,
    device: str,
    progress: Progress,
    partials: list[Partial],
    say: Callable[[str], None],
    stacked: bool,
) -> None:
    """Train one after the other, and store each when it is done; stacked, as if together with none.

    Raises:
        MibenchError: where one could not be trained, after all others.
    """
    wrong = ""
    for partial in partials:
        partial.begin()
    for k, (one, partial) in enumerate(zip(trainings, partials, strict=True)):
        partial.begin()
        share = _share(progress, k, len(trainings))
        try:
            if stacked:
                _train_together([one], store, device, share, partial)
                continue
            with compiled(one.model, one.first.recipe, say):
                callbacks = _callbacks([one], share, partial)
                facts = train(one.first.defense, one.model, one.members, one.first.recipe, one.seed, callbacks)
            one.store(store, facts | {"seconds": round(partial.seconds, 3), "device": device, "together": 1})
        except FloatingPointError as error:
            wrong = wrong or f"{one.first.model_title} cannot be trained with this recipe: {error}"
        partial.drop()
    if wrong:
        raise MibenchError(wrong)


def _callbacks(trainings: list[_Training], progress: Progress, partial: Partial) -> Callbacks:
    """Snapshots go to the trainings, states under way to the store."""

    def keep(k: int, done: int, state: dict[str, Tensor]) -> None:
        trainings[k].snapshots[done] = state

    return Callbacks(progress, _checkpoints(trainings), keep, partial)


def _checkpoints(trainings: list[_Training]) -> tuple[int, ...]:
    """After how many steps models are wanted."""
    return tuple(sorted({cell.checkpoint for one in trainings for cell in one.cells if cell.checkpoint}))


def _share(progress: Progress, k: int, of: int) -> Progress:
    """The progress of part k of so many, as that of the whole."""
    return lambda done, total: progress(k * total + done, of * total)


def _keep(cell: Cell, store: Store, data: Split, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    if data.normalisation != (0.0, 1.0):
        facts = facts | {"normalisation": list(data.normalisation)}
    store.save("models", cell.model_key, tensors, {"spec": cell.model_spec(), "split": data.fingerprint, **facts})


@torch.no_grad()
def _held_loss(model: Model, part: Tensor, seed: int, draws: int = 64) -> float:
    """The unweighted loss per dimension on samples, over times uniform in the horizon and shared noise."""
    process, noise = model.process, generator(seed, "held loss")
    times = (process.t_min + (process.horizon - process.t_min) * (torch.arange(draws) + 0.5) / draws).tolist()
    x = part.to(model.device, torch.float64)
    losses = []
    for t in times:
        eps = torch.randn(process.order, *model.shape, generator=noise).double().to(model.device)
        losses.append((model.eps(model.noised(x, eps, t), t) - eps[-1]).square().mean())
    return torch.stack(losses).mean().item()


def open_model(
    cell: Cell, store: Store, data: Split, device: str, cache: EvaluationCache | None = None
) -> tuple[Model, dict[str, Any]]:
    """The stored model of a cell, and the facts stored with it.

    Raises:
        MibenchError: where it is not in the store, is corrupt, or was trained on another split.
    """
    tensors, meta = store.load("models", cell.model_key)
    if meta["split"] != data.fingerprint:
        raise MibenchError(
            f"the split of {cell.dataset.label}, seed {cell.seed}, is not the one its model was trained on (a library "
            "changed it); use a fresh --store"
        )
    if cell.model_kind == "trained":
        variance = training_data(cell, data).double().square().mean().item()
        model = cell.defense.build_model(data.shape, variance, cell.recipe, device, _training_seed(cell))
        model.denoiser.load_state_dict(tensors)  # type: ignore[attr-defined]
        model.denoiser.eval()  # type: ignore[attr-defined]
    else:
        model = Model(cell.defense.process(), ExactDenoiser(tensors["points"].to(device)), data.shape, device)
    model.cache = cache
    return model, meta
