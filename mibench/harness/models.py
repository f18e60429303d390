"""Making models and opening them: those that are attacked, and the attacker's shadow models."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mibench.context import generator
from mibench.data import Split, split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Memory, Model
from mibench.diffusion.together import can_train_together, fastest, train_together
from mibench.diffusion.training import blank_model, train
from mibench.errors import MibenchError
from mibench.harness.cells import Cell
from mibench.harness.store import Store

__all__ = ["make_models", "open_model", "training_data"]

Progress = Callable[[int, int], None]


def training_data(cell: Cell, data: Split) -> Tensor:
    """What the model of a cell is trained on, (M, *item).

    The members; for a shadow a draw of as many, "online" from the samples to be judged, "offline" from the reference. On
    fresh data as many of the reference take the members' place, and shadows hold what they hold elsewhere.
    """
    if cell.shadow is None:
        return data.reference[: len(data.members)] if cell.model == "fresh" else data.members
    kind, index = cell.shadow
    known = torch.cat([data.members, data.nonmembers]) if kind == "online" else data.reference
    order = torch.randperm(len(known), generator=generator(cell.seed, "shadow", kind, index))
    return known[order[: len(data.members)]]


def _training_seed(cell: Cell) -> int:
    """Of weights, batches and noise: the cell's own, another for each shadow."""
    return generator(cell.seed, "shadow", *cell.shadow).initial_seed() if cell.shadow else cell.seed


def make_models(cells: list[Cell], store: Store, device: str, progress: Progress, say: Callable[[str], None]) -> None:
    """Make and store the models of cells that differ in seed, shadow and checkpoint alone.

    Those to be trained are trained together where that is measured to be faster.

    Raises:
        MibenchError: where a model cannot be trained; models made before are kept.
    """
    trainings: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.model == "trained":
            trainings.setdefault(cell.training_key, []).append(cell)
        else:
            data = split(cell.dataset, cell.seed)
            _keep(
                cell, store, data, {"points": training_data(cell, data)}, {"steps": None, "seconds": 0.0, "loss": None}
            )
    groups = list(trainings.values())
    if len(groups) > 1 and can_train_together(groups[0][0].defense):
        try:
            _train(groups, store, device, progress, say)
            return
        except FloatingPointError as error:
            say(f"trained together a loss left the finite numbers ({error}); one by one now")
    wrong = ""
    for k, group in enumerate(groups):
        try:
            _train([group], store, device, _share(progress, k, len(groups)), say)
        except FloatingPointError as error:
            wrong = wrong or f"{group[0].model_title} cannot be trained with this recipe: {error}"
    if wrong:
        raise MibenchError(wrong)


def _train(groups: list[list[Cell]], store: Store, device: str, progress: Progress, say: Callable[[str], None]) -> None:
    """Train one model per group and store it as its cells' checkpoints want it."""
    began = time.monotonic()
    first = groups[0][0]
    defense, recipe = first.defense, first.recipe
    splits = [split(group[0].dataset, group[0].seed) for group in groups]
    members = [training_data(group[0], data) for group, data in zip(groups, splits, strict=True)]
    seeds = [_training_seed(group[0]) for group in groups]
    models = [
        blank_model(defense, data.shape, part.double().square().mean().item(), recipe, device, seed)
        for data, part, seed in zip(splits, members, seeds, strict=True)
    ]
    steps = tuple(sorted({cell.checkpoint for group in groups for cell in group if cell.checkpoint}))
    snapshots: dict[tuple[int, int], dict[str, Tensor]] = {}

    def keep(k: int, step: int, state: dict[str, Tensor]) -> None:
        snapshots[k, step] = state

    if len(groups) == 1:
        alone = True
    else:
        speed = fastest(defense, models, members, recipe, seeds)
        alone = not speed.pays
        say(
            f"{len(models)} models of {defense.label} train {'one by one' if alone else 'together'}: {speed.alone:.2f} ms a "
            f"step and model one by one, {speed.together:.2f} together"
        )
    if alone:
        facts = []
        for k, model in enumerate(models):
            shown, take = _share(progress, k, len(models)), functools.partial(keep, k)
            facts.append(train(defense, model, members[k], recipe, seeds[k], shown, snapshots=steps, keep=take))
    else:
        facts = train_together(defense, models, members, recipe, seeds, progress, snapshots=steps, keep=keep)
    seconds = (time.monotonic() - began) / len(groups)
    for k, (group, data, model) in enumerate(zip(groups, splits, models, strict=True)):
        final = {name: value.clone() for name, value in model.denoiser.state_dict().items()}  # type: ignore[attr-defined]
        for cell in group:
            state = snapshots[k, cell.checkpoint] if cell.checkpoint else final
            model.denoiser.load_state_dict(state)  # type: ignore[attr-defined]
            told = facts[k] | {"seconds": round(seconds, 3), "device": device, "together": 1 if alone else len(groups)}
            if cell.checkpoint:
                share = cell.checkpoint / recipe.steps
                told |= {
                    "steps": cell.checkpoint,
                    "epochs_per_member": facts[k]["epochs_per_member"] * share,
                    "loss": None,
                }
            if cell.shadow is None:
                told |= {
                    name: _held_loss(model, part, cell.seed)
                    for name, part in (
                        ("member_loss", data.members),
                        ("heldout_loss", data.nonmembers[: len(data.members)]),
                    )
                }
            _keep(cell, store, data, state, told)


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
    cell: Cell, store: Store, data: Split, device: str, memory: Memory | None = None
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
    if cell.model == "trained":
        variance = training_data(cell, data).double().square().mean().item()
        model = blank_model(cell.defense, data.shape, variance, cell.recipe, device, _training_seed(cell))
        model.denoiser.load_state_dict(tensors)  # type: ignore[attr-defined]
        model.denoiser.eval()  # type: ignore[attr-defined]
    else:
        model = Model(cell.defense.process(), ExactDenoiser(tensors["points"].to(device)), data.shape, device)
    model.memory = memory
    return model, meta
