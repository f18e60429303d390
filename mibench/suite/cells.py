"""The cell: dataset × defense × attack × seed, with everything that its figures depend on, and its keys."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mibench.components import Attack, Component, Dataset
from mibench.defenses import Defense
from mibench.kinds import AnyModelKind, Grid, Method, ModelKind, ShadowKind
from mibench.names import build
from mibench.plugins import Registry
from mibench.recipe import Recipe
from mibench.results.record import FORMAT, digest_of, record_path, title_of

__all__ = ["Cell", "CellSpec", "Utility"]


class Utility(BaseModel):
    """How samples are drawn, with which utility is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(1000, ge=100, le=1_000_000, description="how many samples are drawn from each model")
    evaluations: int = Field(50, ge=2, le=100_000, description="network evaluations per sample")
    method: Method = Field("multistep", description="the sampler")
    grid: Grid = Field("quadratic", description="how the sampler's times lie between the horizon and t_min")
    guidance: float = Field(
        1.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        exclude_if=lambda scale: scale == 1,
        description="scale s of classifier-free guidance, ε_∅ + s (ε_c − ε_∅) (arXiv 2207.12598), of conditional models; other "
        "than 1 it takes two evaluations for one",
    )


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        attack: None for the utility of a model.
        model_kind: "trained"; "exact", the optimal model of the members; or "fresh", the optimal model of as many samples of
            the reference, a control that has seen neither members nor non-members; or "given", one that is audited.
        checkpoint: the training step after which the model is taken, 0 for the last.
        shadow: kind and number of a shadow model, which the attacker trains as the target was; None for the target.
    """

    dataset: Dataset
    defense: Defense
    attack: Attack | None
    seed: int
    model_kind: AnyModelKind
    recipe: Recipe
    utility: Utility
    checkpoint: int = 0
    shadow: tuple[ShadowKind, int] | None = None

    @property
    def own_recipe(self) -> Recipe:
        """The recipe that trains the model: the suite's, as the defense changes it."""
        return self.defense.adapt_recipe(self.recipe)

    def with_attack(self, attack: Attack | None) -> Cell:
        """The cell of another attack on the same model; the names and keys of the model are copied, not computed again."""
        cell = replace(self, attack=attack)
        vars(cell).update({name: getattr(self, name) for name in ("_model_labels", "_model_spec", "model_key")})
        return cell

    @functools.cached_property
    def _model_labels(self) -> dict[str, str]:
        return {"dataset": self.dataset.label, "defense": self.defense.label}

    @property
    def labels(self) -> dict[str, str]:
        """The names of dataset, defense and attack, as on the command line; "utility" without an attack."""
        return self._model_labels | {"attack": self.attack.label if self.attack else "utility"}

    @property
    def parts(self) -> dict[str, Component]:
        """Dataset, defense and, where there is one, attack, by kind."""
        parts: dict[str, Component] = {"dataset": self.dataset, "defense": self.defense}
        return parts | ({"attack": self.attack} if self.attack else {})

    @property
    def title(self) -> str:
        """One line that names the cell in logs."""
        return title_of(self.labels, self.seed, self.model_kind, self.checkpoint)

    @property
    def model_title(self) -> str:
        """One line that names the cell's model in logs."""
        shadow = f" · {self.shadow[0]} shadow {self.shadow[1]}" if self.shadow else ""
        return title_of(self._model_labels, self.seed, self.model_kind, self.checkpoint) + shadow

    @functools.cached_property
    def path(self) -> str:
        """The path of its record in a suite's folder of records."""
        return record_path(self.labels, self.seed, self.model_kind, self.checkpoint)

    def shadows(self) -> list[Cell]:
        """The shadow models that its attack declares, as cells of their own."""
        count, kind = self.attack.shadow_models() if self.attack else (0, "offline")
        return [replace(self, attack=None, shadow=(kind, k)) for k in range(count)]

    def models(self) -> list[Cell]:
        """The models that must be stored before the cell can run: its own, and the shadow models of a trained one."""
        own = replace(self, attack=None)
        return [own, *self.shadows()] if self.model_kind == "trained" else [own]

    @functools.cached_property
    def _model_spec(self) -> dict[str, Any]:
        return self.training_spec() | ({"checkpoint": self.checkpoint} if self.checkpoint else {})

    def training_spec(self) -> dict[str, Any]:
        """What the training of the model depends on; all checkpoints share it."""
        spec = {
            "dataset": self.dataset.spec(),
            "defense": self.defense.spec(),
            "seed": self.seed,
            "model": self.model_kind,
        }
        spec |= {"recipe": self.recipe.model_dump(mode="json")} if self.model_kind == "trained" else {}
        return spec | ({"shadow": list(self.shadow)} if self.shadow else {})

    def model_spec(self) -> dict[str, Any]:
        """What the model depends on."""
        return dict(self._model_spec)

    def spec(self) -> dict[str, Any]:
        """What the cell's figures depend on, besides the weights."""
        if self.attack:
            return self.model_spec() | {"attack": self.attack.spec()}
        return self.model_spec() | {"utility": self.utility.model_dump(mode="json")}

    @functools.cached_property
    def model_key(self) -> str:
        """The key of the model's artifact."""
        return digest_of({"format": FORMAT, **self.model_spec()})

    @functools.cached_property
    def training_key(self) -> str:
        """The key of a training; all its checkpoints share it."""
        return digest_of(self.training_spec())

    def key(self, weights: str) -> str:
        """The key of the cell's artifact and record, given the digest of the weights."""
        return digest_of({"format": FORMAT, "weights": weights, **self.spec()})


class CellSpec(BaseModel):
    """A cell as plain values, such as a driver sends to its workers: components by their labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    dataset: str
    defense: str
    attack: str | None = None
    seed: int = 0
    model_kind: ModelKind = "trained"
    recipe: Recipe
    utility: Utility = Utility()
    checkpoint: int = 0
    shadow: tuple[ShadowKind, int] | None = None

    @classmethod
    def of(cls, cell: Cell) -> CellSpec:
        """The plain values of a cell."""
        labels = {kind: part.label for kind, part in cell.parts.items()}
        shared = {
            name: getattr(cell, name) for name in cls.model_fields if name not in ("dataset", "defense", "attack")
        }
        return cls(**labels, **shared)

    def cell(self, registry: Registry) -> Cell:
        """The cell, its components built by name.

        Raises:
            UsageError: where a name or an option is unknown.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        parts = {
            kind: build(registry, kind, label)
            for kind in ("dataset", "defense", "attack")
            if (label := values[kind]) is not None
        }
        return Cell(**values | parts)
