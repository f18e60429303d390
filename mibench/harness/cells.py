"""The cell: dataset × defense × attack × seed, with everything that its numbers depend on, and its keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mibench.components import Attack, Dataset, Defense
from mibench.diffusion.sampling import Grid, Method
from mibench.harness.records import FORMAT, digest_of, record_path
from mibench.names import build, validated
from mibench.plugins import Registry
from mibench.recipe import Recipe

__all__ = ["Cell", "ModelKind", "Utility", "cell_from"]

ModelKind = Literal["trained", "exact", "fresh"]


class Utility(BaseModel):
    """How samples are drawn and measured: how many, with how many network evaluations each, and by which sampler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(1000, ge=100, le=1_000_000)
    evaluations: int = Field(50, ge=2, le=100_000)
    method: Method = "multistep"
    grid: Grid = "quadratic"


@dataclass(frozen=True)
class Cell:
    """One cell. ``attack`` is None for the utility of a model.

    ``model`` is "trained", "exact" (the optimal model of the members) or "fresh" (that of the reference, a control which
    has seen neither members nor non-members).
    """

    dataset: Dataset
    defense: Defense
    attack: Attack | None
    seed: int
    model: ModelKind
    recipe: Recipe
    utility: Utility

    @property
    def labels(self) -> dict[str, str]:
        """How people name it."""
        return {
            "dataset": self.dataset.label,
            "defense": self.defense.label,
            "attack": self.attack.label if self.attack else "utility",
        }

    @property
    def title(self) -> str:
        """One line for people."""
        kind = "" if self.model == "trained" else f" · {self.model} model"
        return " · ".join(self.labels.values()) + f" · seed {self.seed}{kind}"

    @property
    def path(self) -> str:
        """Where its record lies in a suite's folder of records."""
        return record_path(self.labels, self.seed, self.model)

    def model_spec(self) -> dict[str, Any]:
        """What the model depends on."""
        spec = {"dataset": self.dataset.spec(), "defense": self.defense.spec(), "seed": self.seed, "model": self.model}
        return spec | ({"recipe": self.recipe.model_dump(mode="json")} if self.model == "trained" else {})

    def spec(self) -> dict[str, Any]:
        """What the cell depends on, weights excepted."""
        if self.attack:
            return self.model_spec() | {"attack": self.attack.spec()}
        return self.model_spec() | {"utility": self.utility.model_dump(mode="json")}

    @property
    def model_key(self) -> str:
        """Names the model's artifact."""
        return digest_of({"format": FORMAT, **self.model_spec()})

    def key(self, weights: str) -> str:
        """Names the cell's artifact, given the digest of the weights."""
        return digest_of({"format": FORMAT, "weights": weights, **self.spec()})


def cell_from(registry: Registry, job: dict[str, Any]) -> Cell:
    """A cell from the plain values that travel to a worker: labels, seed, model, recipe, utility."""
    parts: dict[str, Any] = {k: build(registry, k, job[k]) for k in ("dataset", "defense", "attack") if job[k]}
    return Cell(
        dataset=parts["dataset"],
        defense=parts["defense"],
        attack=parts.get("attack"),
        seed=job["seed"],
        model=job["model"],
        recipe=validated(Recipe, job["recipe"], "recipe"),
        utility=validated(Utility, job["utility"], "utility"),
    )


def job_from(cell: Cell) -> dict[str, Any]:
    """The plain values of a cell."""
    return {
        "dataset": cell.dataset.label,
        "defense": cell.defense.label,
        "attack": cell.attack.label if cell.attack else None,
        "seed": cell.seed,
        "model": cell.model,
        "recipe": cell.recipe.model_dump(mode="json"),
        "utility": cell.utility.model_dump(mode="json"),
    }
