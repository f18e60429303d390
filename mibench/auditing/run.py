"""The audit, in the order in which things are done: load, check, attack, compare, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from torch import nn

from mibench.auditing.denoiser import GivenDenoiser
from mibench.auditing.files import AuditedFiles, Side, read_side
from mibench.auditing.given import Given
from mibench.auditing.labels import read_conditions
from mibench.auditing.loading_check import check_loading
from mibench.auditing.opened import open_given
from mibench.auditing.settings import AuditSettings
from mibench.auditing.summary import Found, summarise
from mibench.components import Attack, Dataset
from mibench.data import split
from mibench.diffusion.model import Cost, Model
from mibench.errors import UsageError, one_line
from mibench.evaluate.backends import choose_device
from mibench.evaluate.measure import measure
from mibench.evaluate.report import Report
from mibench.evaluate.trainings import make_models
from mibench.file_datasets import FileDataset, FileReader
from mibench.kinds import AnyModelKind
from mibench.modality import Modality
from mibench.names import build, options, validated
from mibench.plugins import Registry, load
from mibench.recipe import Recipe
from mibench.results.record import Record
from mibench.results.store import Store, default_root
from mibench.suite.cells import Cell, Utility

__all__ = ["BLIND", "run_audit"]

BLIND = ("blind", "blind:features=spectrum", "blind:features=files")
CONTROL_FILES = 252
"""Files of each side on which controls are attacked at most: the exact model takes time that grows with their square."""

Say = Callable[[str], None]


def run_audit(settings: AuditSettings, say: Say, progress: Callable[[str, int, int], None]) -> Path:
    """Do an audit, and write its report.

    Args:
        settings: what to do.
        say: takes a line for the user.
        progress: takes a stage, the steps done and the steps in all.

    Returns:
        The folder of the report.

    Raises:
        UsageError: where the model or the files are not what they should be; nothing was attacked then.
    """
    began = time.monotonic()
    device = choose_device(settings.device)
    _check_writable(settings.out)
    registry, store = load(settings.plugins), Store((settings.store or default_root()).absolute())
    attacks, refused = _attacks(registry, settings.attacks)
    given = open_given(settings)
    say(f"{given.label}: {given.checkpoint.facts.get('schedule', 'levels of its own')}, {given.checkpoint.prediction}")
    files = _files(registry, settings, given, device, say)
    data = split(files, settings.seed)
    model, facts = given.open(data.data_variance, device)
    denoiser = model.denoiser
    assert isinstance(denoiser, GivenDenoiser)
    conditions = data.condition_of(data.members) if len(data.conditions) else None
    model.condition_of = data.condition_of
    how = settings.seed, conditions, data.normalisation, files.modality.images
    loading = check_loading(model, denoiser, data.members, *how)
    loading.refuse()
    say(f"loading check: loss {loading.loss:.3g} on members, {loading.linear:.3g} of the best linear answer")
    found = Found(settings, given, files, data, model, asdict(loading), refused)
    runner = _Runner(store, device, say, progress, settings)
    blind = [_attack(registry, name) for name in BLIND]
    found.blind = runner.run("the split", files, given, blind, "given", (model, facts))
    for line in found.split_lines():
        say(line)
    found.records = runner.run("the model", files, given, attacks, "given", (model, facts))
    if settings.controls:
        small = files.limited(CONTROL_FILES)
        for kind in ("exact", "fresh"):
            found.controls[kind] = runner.run(f"the {kind} control", small, given, attacks, kind, None)
    found.failures = runner.failures
    return summarise(found, store, say, time.monotonic() - began)


class _Runner:
    """Runs attacks on one model after another; what the store holds is not computed again."""

    def __init__(
        self,
        store: Store,
        device: str,
        say: Say,
        progress: Callable[[str, int, int], None],
        settings: AuditSettings,
    ) -> None:
        self.store, self.device, self.say, self.progress, self.settings = store, device, say, progress, settings
        self.failures: dict[str, str] = {}

    def run(
        self,
        stage: str,
        files: AuditedFiles,
        given: Given,
        attacks: Sequence[Attack],
        kind: AnyModelKind,
        model: tuple[Model, dict[str, Any]] | None,
    ) -> list[Record]:
        """The records of attacks on one model, in their order; an attack that fails has none."""
        cells = [Cell(files, given, attack, self.settings.seed, kind, Recipe(), Utility()) for attack in attacks]
        records: dict[int, Record] = {}

        def fail(index: int, error: Exception) -> None:
            name = cells[index].labels["attack"]
            self.failures[f"{name} on {stage}"] = one_line(error)
            self.say(f"{name} on {stage} failed: {one_line(error)}")

        clock = _Clock(stage, len(cells), self.say, self.progress)
        report = Report(
            begin=clock.begin,
            done=records.__setitem__,
            failed=fail,
            progress=clock.progress,
            say=lambda text: None,
        )
        if model is None and not self.store.has("models", cells[0].model_key):
            make_models([cells[0].with_attack(None)], self.store, self.device, report)
        if model is not None:
            model[0].cost = Cost()
        measure(cells, self.store, self.device, report, model)
        return [records[index] for index in sorted(records)]


class _Clock:
    """Passes progress on, and says how much longer it takes once all attacks have scored a batch.

    What attacks learn before, and what an earlier run has scored, does not count.
    """

    def __init__(self, stage: str, attacks: int, say: Say, progress: Callable[[str, int, int], None]) -> None:
        self._stage, self._attacks, self._say, self._pass_on = stage, attacks, say, progress
        self._latest, self._began, self._first, self._said = 0.0, 0.0, 0, False

    def begin(self, index: int) -> None:
        """Work on an attack begins."""
        self._latest = time.monotonic()

    def progress(self, done: int, total: int) -> None:
        """So many steps of all are done."""
        if not self._began:
            self._began, self._first = self._latest, done - 1
            if before := self._first // self._attacks:
                self._say(f"scoring {self._stage} goes on after batch {before} of {total // self._attacks}")
        scored, left = done - self._first, total - done
        if not self._said and scored >= self._attacks and left >= self._attacks:
            self._said = True
            seconds = (time.monotonic() - self._began) / scored * left
            self._say(f"scoring {self._stage} takes about {_duration(seconds)} more ({left // self._attacks} batches)")
        self._pass_on(self._stage, done, total)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _check_writable(out: Path) -> None:
    """UsageError where the report could not be written; said before hours of scoring, and not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror or error}; choose another folder") from None


def _attack(registry: Registry, name: str) -> Attack:
    attack = build(registry, "attack", name)
    assert isinstance(attack, Attack)
    return attack


def _attacks(registry: Registry, names: Sequence[str]) -> tuple[list[Attack], dict[str, str]]:
    """The attacks that can run without knowing the training, and why others cannot."""
    if not names:
        known = registry.components["attack"].items()
        names = [name for name, cls in known if isinstance(cls, type) and issubclass(cls, Attack) and not cls.wraps]
        names = [name for name in names if name != "blind"]
    attacks, refused = [], {}
    for attack in (_attack(registry, name) for name in names):
        if attack.access == "data":
            raise UsageError(f"attack {attack.label} never sees the model; the split check runs such baselines anyway")
        if attack.audits:
            refused[attack.label] = "it guesses canaries, which a training must have been given"
        elif attack.shadow_models()[0]:
            refused[attack.label] = "it trains shadow models as the target was trained, and its training is not known"
        else:
            attacks.append(attack)
    if not attacks:
        raise UsageError("; ".join(f"attack {name}: {reason}" for name, reason in refused.items()))
    return attacks, refused


def _files(registry: Registry, settings: AuditSettings, given: Given, device: str, say: Say) -> AuditedFiles:
    """The files of all sides, as the model takes them."""
    checkpoint, latents = given.checkpoint, given.checkpoint.autoencoder
    dataset = _reading(registry, settings.data, latents.shape if latents else checkpoint.shape)
    if settings.range and not dataset.modality.images:
        raise UsageError(f"--range is of images; of {settings.data} give --normalisation, or neither")
    if latents and settings.moved:
        raise UsageError("--range and --normalisation: a latent model takes images in [-1, 1]; leave them out")
    if isinstance(latents, nn.Module):
        latents.to(device)
    reader = FileReader.known[type(dataset)](dataset)

    def read(path: Path) -> Side:
        return read_side(path, reader, latents.encode if latents else lambda x: x, settings.limit, say)

    members, nonmembers = read(settings.members), read(settings.nonmembers)
    reference = read(settings.reference) if settings.reference else None
    for side in (side for side in (members, nonmembers, reference) if side):
        if tuple(side.x.shape[1:]) != checkpoint.shape:
            raise UsageError(
                f"{side.path}: files give samples of shape {tuple(side.x.shape[1:])}, the model takes "
                f"{checkpoint.shape}; give --data with other options"
            )
    sides = [side for side in (members, nonmembers, reference) if side]
    conditions = read_conditions(settings.labels, settings.captions, sides, checkpoint, say)
    moved, decode = ((0.0, 1.0), latents.decode) if latents else (settings.moved, None)
    return AuditedFiles.of(members, nonmembers, reference, dataset, moved, conditions, decode)


def _reading(registry: Registry, text: str, shape: tuple[int, ...]) -> FileDataset:
    """The dataset by whose rules files are read; images have the size and the channels of the model."""
    name, _, tail = text.partition(":")
    cls = registry.components["dataset"].get(name)
    if cls is None or not issubclass(cls, FileDataset) or cls not in FileReader.known:
        known = ", ".join(sorted(one.name for one in FileReader.known))
        raise UsageError(f"--data {text!r}: files are read as {known}")
    given: dict[str, Any] = options(tail, f"--data {text}") if tail else {}
    if wrong := [option for option in given if option in ("path", *Dataset.model_fields)]:
        raise UsageError(f"--data {text}: leave out {wrong[0]}; --members, --nonmembers and --reference name the files")
    modality: Modality = cls.modality
    if modality.images:
        if len(shape) != 3 or shape[1] != shape[2] or shape[0] not in (1, 3):
            raise UsageError(
                f"the model takes samples of shape {shape}; images are square, of 1 or 3 channels (for wavs give --data speech; "
                "of a latent model give the folder of the whole pipeline, with vae/)"
            )
        given = {"channels": shape[0], "size": shape[1]} | given
    return validated(cls, given, f"--data {text}")
