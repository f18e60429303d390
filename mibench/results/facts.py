"""The parts of a record that say what a cell was, what it was made from, and what it cost.

A field that is None by default is left out of the JSON where it is None, so that records from before it was added keep their
digests.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mibench.claims import Claim

__all__ = ["CellFacts", "ComponentFacts", "CostFacts", "Environment", "ModelFacts", "SplitFacts", "Strict"]


class Strict(BaseModel):
    """Frozen, without unknown fields, NaN or infinity; ``strict`` reading refuses true for 1 and "1" for 1."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, serialize_by_alias=True)


def optional(default: Any = None) -> Any:
    """A field that is left out of the JSON where it has its default."""
    return Field(default, exclude_if=lambda value: value == default)


class ComponentFacts(Strict):
    """What ``Component.spec`` says of a dataset, a defense or an attack; a component may add fields of its own.

    Attributes:
        name: as registered, without options.
        version: of the component; it is raised when the component's numbers change.
        options: every option by name, as JSON.
        base: the attack inside a wrapper.
        measures: of a defense, in the order in which they apply.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    version: int
    options: dict[str, Any]
    base: ComponentFacts | None = optional()
    measures: tuple[ComponentFacts, ...] | None = optional()


class CellFacts(Strict):
    """What a cell's key is computed from, besides the weights; see ``mibench.suite.cells.Cell.spec``.

    Attributes:
        dataset, defense: of the model.
        attack: None where the record is of the model's samples.
        utility: how those samples were drawn and measured (``mibench.suite.cells.Utility``).
        seed: of split, training and noise.
        model: "trained", "exact" or "fresh".
        checkpoint: the step after which the model was taken, 0 for the end of training.
        recipe: of a trained model, see ``mibench.recipe.Recipe``.
    """

    dataset: ComponentFacts
    defense: ComponentFacts
    attack: ComponentFacts | None = optional()
    utility: dict[str, Any] | None = optional()
    seed: int
    model: str
    checkpoint: int = optional(0)
    recipe: dict[str, Any] | None = optional()

    def components(self) -> dict[str, ComponentFacts]:
        """Dataset, defense and, where there is one, attack, by kind."""
        parts = {"dataset": self.dataset, "defense": self.defense, "attack": self.attack}
        return {kind: part for kind, part in parts.items() if part}


class SplitFacts(Strict):
    """The split of the data, ``mibench.data.Split``.

    Attributes:
        fingerprint: sha256 of the three parts.
        members, nonmembers, reference: how many samples each has.
        near_duplicates: how many non-members equal a member, or nearly.
        canaries: how many outliers were drawn for an audit, and how many of them were trained on beside the members; None
            without.
        notes: warnings of the dataset, such as files that it left out.
    """

    fingerprint: str
    members: int
    nonmembers: int
    reference: int
    near_duplicates: int
    canaries: tuple[int, int] | None = optional()
    notes: tuple[str, ...] | None = optional()


class ModelFacts(Strict):
    """The model under attack. An exact model has no steps, and a model that was not made no digest.

    Attributes:
        key: of the model's artifact.
        digest: sha256 of the weights, "" where the model was not made.
        steps: of the optimiser, None for an exact model.
        epochs_per_member: how often training has drawn each member, on average.
        member_loss, heldout_loss: unweighted loss per dimension on members and on held-out samples.
        loss: of training, averaged over its end; None at a checkpoint and for an exact model.
        parameters: how many numbers the network has.
        seconds: of training.
        device: that it was trained on, "cpu" or "cuda".
        trained_on: CPU, instructions and libraries of matrix products there, see ``Environment``.
        together: how many models were trained in one stack, this one included.
        training: the version of the training's arithmetic; 2 has float32 states and one tensor for the weights of a stack.
        normalisation: shift and scale of the data, where they are not (0, 1).
        claim: the differential privacy that the defense claims for this training; none where it claims none.
        shadows: digests of the weights of the attack's shadow models.
    """

    key: str
    digest: str = optional("")
    steps: int | None = None
    epochs_per_member: float | None = optional()
    member_loss: float | None = optional()
    heldout_loss: float | None = optional()
    loss: float | None = None
    parameters: int | None = optional()
    seconds: float | None = optional()
    device: str | None = optional()
    trained_on: str | None = optional()
    together: int | None = optional()
    training: int = optional(1)
    normalisation: tuple[float, float] | None = optional()
    claim: Claim | None = optional()
    shadows: tuple[str, ...] | None = optional()


class CostFacts(Strict):
    """How often a network was evaluated.

    Attributes:
        forwards, vjps: forward passes and vector–Jacobian products of the model under attack, per scored sample.
        shadow_forwards, shadow_vjps: the same of shadow models.
        fit_forwards, fit_vjps: of both, in all, while the attack learned.
    """

    forwards: float
    vjps: float
    shadow_forwards: float | None = optional()
    shadow_vjps: float | None = optional()
    fit_forwards: float | None = optional()
    fit_vjps: float | None = optional()


class Environment(Strict):
    """Where the scores or samples were computed.

    Attributes:
        python, mibench, torch, numpy, scipy, scikit_learn: versions.
        device: "cpu" or "cuda".
        chip: the name of the GPU, or the architecture of the CPU.
        cpu: vendor and model.
        instructions: the set of instructions that torch uses, such as "AVX512".
        blas: libraries of matrix products, with their versions.
        threads: of torch.
        scoring_batch: how many samples were scored at a time.
        deterministic: whether the same computation gives the same bits there.
    """

    python: str
    mibench: str
    torch: str
    numpy: str
    scipy: str
    scikit_learn: str = Field(alias="scikit-learn")
    device: str
    chip: str
    cpu: str | None = optional()
    instructions: str | None = optional()
    blas: str | None = optional()
    threads: int
    scoring_batch: int
    deterministic: bool
