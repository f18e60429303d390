"""A suite: which datasets, defenses, attacks and seeds, with which recipes; one TOML file."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mibench.components import Attack, Dataset
from mibench.defenses import Defense
from mibench.errors import UsageError
from mibench.kinds import ModelKind
from mibench.names import build, did_you_mean, validated
from mibench.plugins import Registry
from mibench.recipe import Recipe
from mibench.results.record import digest_of
from mibench.suite.cells import Cell, Utility

__all__ = ["Suite", "checkpoint_steps", "find_suite", "load_suite", "loose_records", "plan_cells", "suite_name"]


class Suite(BaseModel):
    """What a suite file holds; names are as on the command line.

    Attributes:
        recipe: training recipe by dataset name, on top of the dataset's own.
        checkpoints: shares of the training after which its model is measured, too; the end always is.
        baseline: the defense that the board compares the others with; the first one where it is left out.
        controls: whether the exact model (first seed), the exact model of fresh data, and the blind attacks are run beside.
        blind: attacks that never look at a model; one that succeeds shows a split that is not clean.
        utility: how samples are drawn and measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = "mibench"
    description: str = ""
    datasets: list[str] = Field(min_length=1)
    defenses: list[str] = Field(min_length=1)
    attacks: list[str] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    model: ModelKind = "trained"
    checkpoints: list[Annotated[float, Field(gt=0, lt=1)]] = []
    baseline: str | None = None
    controls: bool = True
    blind: list[str] = ["blind"]
    recipe: dict[str, dict[str, Any]] = {}
    utility: Utility = Utility()


@dataclass(frozen=True)
class Located:
    """A suite and the folder it lies in, whose ``records/`` it fills."""

    suite: Suite
    folder: Path


ROOT = "leaderboards"


def all_suites() -> list[Path]:
    """The folders of all suites under ``leaderboards/``, and of those that are grouped in a folder there."""
    return sorted(path.parent for depth in ("*", "*/*") for path in Path(ROOT).glob(f"{depth}/suite.toml"))


def suite_name(folder: Path) -> str:
    """What a suite is called on the command line, such as "quick" or "images/small": its place under ``leaderboards/``."""
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
    """Where the records of a suite without a file lie: a folder in the store for each recipe and measure of utility."""
    settings = {"recipe": suite.recipe, "utility": suite.utility.model_dump(mode="json")}
    return root / "records" / digest_of(settings)[:12]


def load_suite(text: str) -> Located:
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
    suite = validated(Suite, content, str(path))
    if any(seed < 0 for seed in suite.seeds):
        raise UsageError(f"{path}: seeds must be 0 or more")
    return Located(suite, folder)


def checkpoint_steps(suite: Suite, steps: int) -> list[int]:
    """The checkpoints of a training of so many steps."""
    if suite.model != "trained":
        return []
    return sorted({max(1, round(share * steps)) for share in suite.checkpoints} - {steps})


def _control_kinds(suite: Suite, seed: int) -> list[ModelKind]:
    if not suite.controls or suite.model != "trained":
        return []
    return ["exact", "fresh"] if seed == suite.seeds[0] else ["fresh"]


def plan_cells(registry: Registry, suite: Suite) -> list[Cell]:
    """Every cell of a suite, utilities included, the cells of one model next to each other.

    Raises:
        UsageError: for a name or recipe that is wrong, or an entry given twice.
    """
    datasets = [build(registry, "dataset", text) for text in suite.datasets]
    defenses = [build(registry, "defense", text) for text in suite.defenses]
    attacks = [build(registry, "attack", text) for text in suite.attacks]
    for parts in (datasets, defenses, attacks):
        labels = [part.label for part in parts]
        for label in labels:
            if labels.count(label) > 1:
                raise UsageError(f"{label!r} is listed twice")
    for defense in defenses:
        assert isinstance(defense, Defense)
        try:
            defense.process()
        except ValueError as error:
            raise UsageError(f"defense {defense.label!r} makes no valid process: {error}") from None
    for name in suite.recipe:
        if name not in {part.name for part in datasets}:
            raise UsageError(f"recipe for {name!r}, which is no dataset of this suite")
    if suite.baseline is not None and suite.baseline not in suite.defenses:
        raise UsageError(f"baseline {suite.baseline!r} is none of the suite's defenses: {', '.join(suite.defenses)}")
    blind = [build(registry, "attack", text) for text in suite.blind if suite.controls and text not in suite.attacks]
    cells: list[Cell] = []
    for dataset in datasets:
        assert isinstance(dataset, Dataset)
        recipe = validated(
            Recipe, {**dataset.recipe, **suite.recipe.get(dataset.name, {})}, f"recipe of {dataset.name}"
        )
        if recipe.augment and not dataset.modality.images:
            raise UsageError(
                f"recipe of {dataset.name}: augment is for images, and this dataset holds {dataset.modality.name}; leave it out"
            )
        for seed in suite.seeds:
            for defense in defenses:
                assert isinstance(defense, Defense)
                model = Cell(dataset, defense, None, seed, suite.model, recipe, suite.utility)
                judged = [attack for attack in attacks if isinstance(attack, Attack)]
                for checkpoint in (*checkpoint_steps(suite, recipe.steps), 0):
                    then = replace(model, checkpoint=checkpoint)
                    cells += [then.with_attack(attack) for attack in (None, *judged)]
                for kind in _control_kinds(suite, seed):
                    control = replace(model, model_kind=kind)
                    cells += [control.with_attack(attack) for attack in judged if attack.access != "data"]
            fresh = replace(model, defense=defenses[0], model_kind="fresh")  # type: ignore[arg-type]
            cells += [fresh.with_attack(attack) for attack in blind if isinstance(attack, Attack)]
    return cells
