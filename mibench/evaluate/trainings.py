"""Making the models of cells: trainings one by one or stacked, resumed where they were interrupted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mibench.claims import Claim
from mibench.data import split
from mibench.defenses import Defense
from mibench.diffusion.compiled import compiled
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.networks import conditioned
from mibench.diffusion.optimise import Callbacks
from mibench.diffusion.side_by_side import without_vmap
from mibench.diffusion.stacked import can_stack, measure_speed, train_stacked
from mibench.diffusion.training import train
from mibench.errors import MibenchError
from mibench.evaluate.environment import machine
from mibench.evaluate.models import blank_model, heldout_loss, model_code, save_model, training_data, training_seed
from mibench.evaluate.partial import PartialTraining
from mibench.evaluate.report import Report
from mibench.recipe import Recipe
from mibench.results.record import digest_of
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.suite.cells import Cell

__all__ = ["Training", "make_models", "stacking_is_faster"]

SAVE_EVERY = 60.0
VERSION = 2
"""Of the training's arithmetic, see ``ModelFacts.training``; an unfinished training of another version is not continued."""


def make_models(cells: list[Cell], store: Store, device: str, report: Report, save_every: float = SAVE_EVERY) -> None:
    """Make and store the models of cells that differ only in seed, shadow and checkpoint.

    Bundled MLPs are trained in one stack, also a single one: its weights do not depend on what it is trained with (on the CPUs
    tried to the last bit). Other networks are trained in one stack where that is possible and measured to be faster, else one by
    one. An interrupted training continues from its last saved state in the way that it was begun, to the same weights on the
    same device.

    Args:
        cells: whose models are made.
        store: takes the models, and the states of unfinished trainings.
        device: "cpu" or "cuda".
        report: its ``progress`` and ``say`` are called.
        save_every: seconds between two saved states of a training.

    Raises:
        MibenchError: where a model cannot be trained; the others are stored, and ``report.failed`` was called with each that is
            not.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.model_kind == "trained":
            groups.setdefault(cell.training_key, []).append(cell)
        else:
            data = split(cell.dataset, cell.seed)
            facts = {"steps": None, "seconds": 0.0, "loss": None}
            save_model(cell, store, data, {"points": training_data(cell, data)}, facts)
    if groups:
        places = {cell.model_key: index for index, cell in enumerate(cells)}
        trainer = _Trainer(store, device, report, save_every, places)
        trainer.run([Training(group, device) for group in groups.values()])


class Training:
    """One training.

    Args:
        cells: that differ only in the checkpoint that they want.
        device: where the model lives.
    """

    def __init__(self, cells: list[Cell], device: str) -> None:
        self.cells, self.first = cells, cells[0]
        self.data = split(self.first.dataset, self.first.seed)
        members = training_data(self.first, self.data)
        self.variance = members.double().square().mean().item()
        self.members = members[self.first.defense.select(members)]
        self.recipe = self.first.own_recipe
        self.seed = training_seed(self.first)
        self.model = blank_model(self.first, self.data, device)
        if (network := conditioned(network_of(self.model))) is not None:
            found = self.data.condition_of(self.members)
            assert found is not None, "the members are samples of the split"
            network.members = found.to(device)
        self.snapshots: dict[int, dict[str, Tensor]] = {}

    @property
    def is_mlp(self) -> bool:
        """Whether its network is a bundled MLP, whose training is the same alone and in a stack."""
        return without_vmap(network_of(self.model).network)

    def save(self, store: Store, facts: dict[str, Any]) -> None:
        """Store the trained model, at the end and at each checkpoint of the cells."""
        network = network_of(self.model)
        final = {name: value.clone() for name, value in network.state_dict().items()}
        saved = []
        for cell in self.cells:
            state, own = final, facts
            if cell.checkpoint:
                epochs = facts["epochs_per_member"] * cell.checkpoint / self.recipe.steps
                state = self.snapshots[cell.checkpoint]
                own = facts | {"steps": cell.checkpoint, "epochs_per_member": epochs, "loss": None}
            network.load_state_dict(state)
            if claim := self._claim(cell):
                own = own | {"claim": claim.model_dump(mode="json")}
            if cell.shadow is None:
                nonmembers = self.data.nonmembers[: len(self.data.members)]
                for name, part in (("member_loss", self.data.members), ("heldout_loss", nonmembers)):
                    own = own | {name: heldout_loss(self.model, part, cell.seed)}
            saved.append((cell, state, own))
        for cell, state, own in saved:
            save_model(cell, store, self.data, state, own)

    def _claim(self, cell: Cell) -> Claim | None:
        """What its defense claims of a model; a claim that cannot be kept is refused before the training begins."""
        return cell.defense.claim(len(self.members), self.recipe, cell.checkpoint or self.recipe.steps)

    def check_claims(self) -> None:
        """Work out what the defense claims, before anything is trained.

        Raises:
            MibenchError: where its options cannot give what they ask for, or the accountant is not installed.
        """
        for cell in self.cells:
            self._claim(cell)


def stacking_is_faster(trainings: list[Training], say: Callable[[str], None]) -> bool:
    """Whether the trainings take less time in one stack than one by one: MLPs do, of others a few steps are measured."""
    what = f"{len(trainings)} models of {trainings[0].first.defense.label} are trained"
    if trainings[0].is_mlp:
        say(f"{what} in one stack")
        return True
    speed = measure_speed(*_arguments(trainings))
    say(
        f"{what} {'in one stack' if speed.pays else 'one by one'}: "
        f"{speed.single:.2f} ms per step and model one by one, {speed.stacked:.2f} ms in one stack"
    )
    return speed.pays


def _arguments(trainings: list[Training]) -> tuple[Defense, list[Model], list[Tensor], Recipe, list[int]]:
    """Objective, models, members, recipe and seeds, as ``train_stacked`` takes them."""
    first, models = trainings[0].first, [training.model for training in trainings]
    members, seeds = [training.members for training in trainings], [training.seed for training in trainings]
    return first.defense, models, members, trainings[0].recipe, seeds


class _Trainer:
    """Runs the trainings of one job, whose models differ only in seed and shadow; ``places`` are their cells' in the job."""

    def __init__(self, store: Store, device: str, report: Report, save_every: float, places: dict[str, int]) -> None:
        self.store, self.device, self.report, self.save_every = store, device, report, save_every
        self.places = places

    def run(self, trainings: list[Training]) -> None:
        """Train and store all models.

        Raises:
            MibenchError: where one could not be trained, after all others.
        """
        for training in trainings:
            training.check_claims()
        partials = {training: self._partial(training.first.model_title, [training]) for training in trainings}
        stack = [training for training in trainings if not partials[training].exists]
        if len(stack) > 1 and self._train_in_one_stack(stack):
            trainings = [training for training in trainings if training not in stack]
        self._train_one_by_one({training: partials[training] for training in trainings})

    def _train_in_one_stack(self, trainings: list[Training]) -> bool:
        """Train models in one stack and store them; whether that is possible and pays."""
        defense = trainings[0].first.defense
        if not can_stack(defense, [training.model for training in trainings]):
            return False
        partial = self._partial(f"the training of {len(trainings)} models of {defense.label}", trainings)
        if not (partial.exists or stacking_is_faster(trainings, self.report.say)):
            return False
        try:
            self._train(trainings, partial, self.report.progress)
        except FloatingPointError as error:
            self.report.say(f"a loss in the stack is no longer finite ({error}); the models are trained one by one")
            partial.delete()
            return False
        return True

    def _partial(self, title: str, trainings: list[Training], *names: str) -> PartialTraining:
        splits = [training.data.fingerprint for training in trainings]
        code = model_code(trainings[0].first)
        facts = {"device": self.device, "torch": torch.__version__, "splits": splits, "code": code, "training": VERSION}
        key = digest_of([*(training.first.training_key for training in trainings), *names])
        keys = [training.first.training_key for training in trainings]
        return PartialTraining(self.store, key, facts, title, self.report.say, self.save_every, keys)

    def _train_one_by_one(self, trainings: dict[Training, PartialTraining]) -> None:
        """Train each model and store it."""
        failure = ""
        for partial in trainings.values():
            partial.begin()
        for k, (training, partial) in enumerate(trainings.items()):

            def progress(done: int, total: int, k: int = k) -> None:
                self.report.progress(k * total + done, len(trainings) * total)

            try:
                self._train([training], partial, progress)
            except FloatingPointError as error:
                reason = f"{training.first.model_title} cannot be trained with this recipe: {error}"
                failure = failure or reason
                for cell in training.cells:
                    self.report.failed(self.places[cell.model_key], MibenchError(reason))
                partial.delete()
        if failure:
            raise MibenchError(failure)

    def _train(
        self,
        trainings: list[Training],
        partial: PartialTraining,
        progress: Callable[[int, int], None],
    ) -> None:
        """Train models in one stack, or a single one by itself, and store them."""
        partial.begin()
        checkpoints = {cell.checkpoint for training in trainings for cell in training.cells if cell.checkpoint}

        def keep(k: int, done: int, state: dict[str, Tensor]) -> None:
            trainings[k].snapshots[done] = state

        callbacks = Callbacks(progress, tuple(sorted(checkpoints)), keep, partial)
        first = trainings[0]
        stacked = len(trainings) > 1 or (first.is_mlp and can_stack(first.first.defense, [first.model]))
        facts = train_stacked(*_arguments(trainings), callbacks) if stacked else [self._train_single(first, callbacks)]
        seconds = round(partial.seconds / len(trainings), 3)
        for training, own in zip(trainings, facts, strict=True):
            shared = {"seconds": seconds, "device": self.device, "trained_on": machine(), "together": len(trainings)}
            shared |= {"training": VERSION}
            training.save(self.store, own | shared)
        partial.delete()

    def _train_single(self, training: Training, callbacks: Callbacks) -> dict[str, Any]:
        """Train one model by itself, and before it the teachers that its defense asks for; facts for the record."""
        defense, recipe, members = training.first.defense, training.recipe, training.members
        asked, teachers, partials = defense.teachers(len(members)), [], []

        def progress(k: int) -> Callable[[int, int], None]:
            return lambda done, total: callbacks.progress(k * total + done, (len(asked) + 1) * total)

        if asked and training.model.is_conditional:
            raise MibenchError(
                f"{defense.label} trains teachers, which are given no conditions; use data without texts"
            )
        for k, (other, rows) in enumerate(asked):
            title = f"teacher {k + 1} of {training.first.model_title}"
            partials.append(self._partial(title, [training], f"teacher {k}"))
            seed = generator(training.seed, "teacher", k).initial_seed()
            teacher = other.build_model(training.data.shape, training.variance, recipe, self.device, seed)
            partials[k].begin()
            train(other, teacher, members[rows], recipe, seed, Callbacks(progress(k), sink=partials[k], save_end=True))
            teachers.append(teacher)
        # a step of its own may differentiate member by member, by vmap, which a compiled network does not support
        compiling = nullcontext() if defense.changes("step") else compiled(training.model, recipe, self.report.say)
        with compiling:
            own = replace(callbacks, progress=progress(len(asked)))
            facts = train(defense, training.model, members, recipe, training.seed, own, teachers)
        for partial in partials:
            partial.delete()
        return facts
