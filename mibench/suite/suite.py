"""Suites: TOML files that list datasets, defenses, attacks, seeds and recipes; each gives a list of cells."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mibench.components import Attack, Component, Dataset
from mibench.defenses import Defense
from mibench.errors import UsageError
from mibench.kinds import ModelKind
from mibench.names import build, did_you_mean, validated
from mibench.plugins import Registry
from mibench.recipe import Recipe
from mibench.results.record import digest_of
from mibench.suite.cells import Cell, Utility

__all__ = ["ROOT", "Suite", "checkpoint_steps", "find_suite", "load_suite", "loose_records", "plan_cells", "suite_name"]

AnyComponent = TypeVar("AnyComponent", bound=Component)

ROOT = "leaderboards"


class Suite(BaseModel):
    """The content of a suite file; names are as on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field("mibench", description="of the board")
    description: str = Field("", description="a paragraph under the title; Markdown")
    datasets: list[str] = Field(min_length=1, description='such as "digits:members=200"')
    defenses: list[str] = Field(min_length=1, description='such as "hold3"')
    attacks: list[str] = Field(min_length=1, description='such as "pia:p=2"; each runs on each defense')
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        default=[0], min_length=1, description="of split, training and noise"
    )
    model: ModelKind = Field(
        "trained", description="exact is the optimal model of the members, fresh that of data that nobody attacks"
    )
    checkpoints: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [], description="shares of the training after which the model is also measured; it always is at the end"
    )
    baseline: str | None = Field(
        None, description="the defense that the board compares the others with; the first one by default"
    )
    controls: bool = Field(
        True,
        description="whether the exact model (first seed), the exact model of fresh data and the blind attacks are added",
    )
    blind: list[str] = Field(
        ["blind"], description="attacks that never query a model; if one succeeds, the split itself is not clean"
    )
    recipe: dict[str, dict[str, Any]] = Field(
        {}, description="training recipe by name of a dataset, on top of the dataset's own"
    )
    utility: Utility = Field(Utility(), description="how samples are drawn and measured")


@dataclass(frozen=True)
class LoadedSuite:
    """A suite and the folder of its file, where its records are in ``records/``."""

    suite: Suite
    folder: Path


def all_suites() -> list[Path]:
    """The folders of all suites under ``leaderboards/``, directly or one folder below."""
    return sorted(path.parent for depth in ("*", "*/*") for path in Path(ROOT).glob(f"{depth}/suite.toml"))


def suite_name(folder: Path) -> str:
    """The name of a suite on the command line, such as "quick" or "images/small": its path below ``leaderboards/``."""
    parts = folder.resolve().parts
    below = parts[len(parts) - parts[::-1].index(ROOT) :] if ROOT in parts else ()
    return "/".join(below) or folder.resolve().name


def find_suite(text: str) -> Path:
    """The folder of a suite given by its file, its folder, or its name under ``leaderboards/``.

    Raises:
        UsageError: where there is none.
    """
    for folder in (Path(text), Path(ROOT) / text):
        if os.path.isfile(folder) and folder.suffix == ".toml":
            return folder.parent
        if os.path.isfile(folder / "suite.toml"):
            return folder
    known = [suite_name(folder) for folder in all_suites()]
    hint = did_you_mean(text, known) if known else "; name a suite.toml, or a folder that holds one"
    raise UsageError(f"there is no suite {text!r}{hint}")


def loose_records(root: Path, suite: Suite) -> Path:
    """The folder of the records of a suite without a file: in the store, one for each recipe and way to measure utility."""
    settings = {"recipe": suite.recipe, "utility": suite.utility.model_dump(mode="json")}
    return root / "records" / digest_of(settings)[:12]


def load_suite(text: str) -> LoadedSuite:
    """Read a suite file.

    Raises:
        UsageError: where it is missing, no TOML, or holds an unknown or invalid key.
    """
    folder = find_suite(text)
    path = Path(text) if os.path.isfile(text) else folder / "suite.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return LoadedSuite(validated(Suite, content, str(path)), folder)


def checkpoint_steps(suite: Suite, steps: int) -> list[int]:
    """The steps of a training of so many steps after which its model is measured, the last step excepted."""
    if suite.model != "trained":
        return []
    return sorted({max(1, round(share * steps)) for share in suite.checkpoints} - {steps})


def plan_cells(registry: Registry, suite: Suite) -> list[Cell]:
    """All cells of a suite, utilities and controls included, the cells of one model next to each other.

    Raises:
        UsageError: for a name or recipe that is wrong, or an entry that is listed twice.
    """
    datasets = _components(registry, "dataset", suite.datasets, Dataset)
    defenses = _components(registry, "defense", suite.defenses, Defense)
    attacks = _components(registry, "attack", suite.attacks, Attack)
    blind = [name for name in suite.blind if suite.controls and name not in suite.attacks]
    blind_attacks = _components(registry, "attack", blind, Attack)
    _check(suite, datasets, defenses)
    listed = {defense.label for defense in defenses}
    cells: list[Cell] = []
    for dataset in datasets:
        recipe = _recipe(suite, dataset)
        for defense in defenses:
            defense.check(dataset, recipe)
        for seed in suite.seeds:
            for defense in defenses:
                model = Cell(dataset, defense, None, seed, suite.model, recipe, suite.utility)
                cells += _cells_of_model(suite, model, attacks)
                if defense.control.label not in listed - {defense.label}:
                    cells += _cells_of_controls(suite, model, attacks)
            fresh = Cell(dataset, defenses[0], None, seed, "fresh", recipe, suite.utility)
            cells += [fresh.with_attack(attack) for attack in blind_attacks]
    return cells


def _components(registry: Registry, kind: str, names: list[str], cls: type[AnyComponent]) -> list[AnyComponent]:
    """The components of one kind that a suite names.

    Raises:
        UsageError: where a name is wrong, or two names stand for the same component.
    """
    components = [component for name in names if isinstance(component := build(registry, kind, name), cls)]
    labels = Counter(component.label for component in components)
    if twice := [label for label, count in labels.items() if count > 1]:
        raise UsageError(f"{twice[0]!r} is listed twice")
    return components


def _check(suite: Suite, datasets: list[Dataset], defenses: list[Defense]) -> None:
    """Check what the fields of a suite cannot say.

    Raises:
        UsageError: for an invalid process, a recipe of no dataset, or a baseline that is no defense of the suite.
    """
    for defense in defenses:
        try:
            defense.process()
        except ValueError as error:
            raise UsageError(f"defense {defense.label!r} makes no valid process: {error}") from None
    for name in suite.recipe:
        if name not in {dataset.name for dataset in datasets}:
            raise UsageError(f"recipe for {name!r}, which is no dataset of this suite")
    if suite.baseline is not None and suite.baseline not in suite.defenses:
        raise UsageError(f"baseline {suite.baseline!r} is none of the suite's defenses: {', '.join(suite.defenses)}")


def _recipe(suite: Suite, dataset: Dataset) -> Recipe:
    """The dataset's own recipe with the suite's changes.

    Raises:
        UsageError: for an unknown or invalid field.
    """
    where = f"recipe of {dataset.name}"
    recipe = validated(Recipe, {**dataset.recipe, **suite.recipe.get(dataset.name, {})}, where)
    if recipe.augment and not dataset.modality.images:
        kind = dataset.modality.name
        raise UsageError(f"{where}: augment is for images, and this dataset holds {kind}; leave it out")
    return recipe


def _cells_of_model(suite: Suite, model: Cell, attacks: list[Attack]) -> list[Cell]:
    """Utility and attacks at each checkpoint of a model."""
    cells = []
    for checkpoint in (*checkpoint_steps(suite, model.own_recipe.steps), 0):
        snapshot = replace(model, checkpoint=checkpoint)
        cells += [snapshot.with_attack(attack) for attack in (None, *attacks)]
    return cells


def _cells_of_controls(suite: Suite, model: Cell, attacks: list[Attack]) -> list[Cell]:
    """Attacks on the controls of a model: the exact model, for the first seed, and the fresh one.

    A defense whose measures change its training alone has the controls of the defense without them, if that is in the suite.
    """
    cells = []
    controls: tuple[ModelKind, ...] = ()
    if suite.controls and suite.model == "trained":
        controls = ("exact", "fresh") if model.seed == suite.seeds[0] else ("fresh",)
    for kind in controls:
        control = replace(model, model_kind=kind)
        cells += [control.with_attack(attack) for attack in attacks if attack.access != "data"]
    return cells
