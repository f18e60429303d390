"""What plugins subclass: Component, Dataset and Attack (``Defense`` is in ``mibench.defenses``). One class is one method.

A component is a frozen pydantic model: its fields are its options (typed, with a default and a range), its class
variables say what it is. It is written ``name:option=value,…`` on the command line and in suites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from mibench.kinds import Access, ShadowKind, Tier

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mibench.context import Context
    from mibench.diffusion.model import Model
    from mibench.modality import Modality

__all__ = ["Attack", "Component", "Dataset"]

FEWEST_CANARIES = 20
"""Fewer hardly ever give a bound: 5 right guesses of 5 are needed for one above 0 at 95 %."""


class Component(BaseModel):
    """What datasets, defenses, measures and attacks share.

    Attributes:
        name: lower-case letters, digits and dashes, beginning with a letter.
        version: raise it whenever the numbers change; records of an older version are then stale.
        paper: the source, such as "arXiv 2305.18355".
        shorthand: the option that digits after the name set: with "order", ``hold3`` is ``hold:order=3``.
        title: the name as people write it, such as "SecMI"; by default ``name`` without its
            dashes. It is no part of the code that ``mibench.source.code_digest`` sees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    paper: ClassVar[str] = ""
    shorthand: ClassVar[str | None] = None
    title: ClassVar[str] = ""

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @property
    def label(self) -> str:
        """The shortest text that names this component with these options."""
        options = self._changed()
        head = self.name
        if self.shorthand:
            head += str(getattr(self, self.shorthand))
            options.pop(self.shorthand, None)
        text = ",".join(f"{key}={_written(value)}" for key, value in options.items())
        return f"{head}:{text}" if text else head

    @property
    def display_name(self) -> str:
        """The name with these options for people to read, such as "HOLD(3), sufficient"."""
        options, head = self._changed(), self.title or self.name.replace("-", " ")
        if self.shorthand:
            head += f"({getattr(self, self.shorthand)})"
            options.pop(self.shorthand, None)
        return ", ".join([head, *(_said(key, value) for key, value in options.items())])

    def _changed(self) -> dict[str, Any]:
        """The options that are not at their defaults."""
        return {k: v for k, v in self.model_dump().items() if v != type(self).model_fields[k].default}

    def parts(self) -> list[Component]:
        """This component, and those inside it."""
        inside = [value.parts() for value in vars(self).values() if isinstance(value, Component)]
        return [self, *(part for parts in inside for part in parts)]

    def spec(self) -> dict[str, Any]:
        """Name, version and every option: what identifies this component in keys and records."""
        return {"name": self.name, "version": self.version, "options": self.model_dump(mode="json")}


def _written(value: Any) -> str:
    """The value of an option as it is written after the name of a component."""
    if value is None:
        return "none"
    return str(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)


def _said(key: str, value: Any) -> str:
    """An option as it stands in a display name: a word by itself, a number behind the name of the option."""
    if isinstance(value, str):
        return value
    shown = f"{value:g}" if isinstance(value, float) else _written(value)
    return f"{key.replace('_', ' ')} {shown}"


class Dataset(Component):
    """A pool of samples, split by seed into members, non-members and a reference (``mibench.data.Split``).

    A subclass implements ``pool``.

    Attributes:
        modality: the kind of data, such as ``mibench.IMAGE``.
        recipe: fields of the training recipe that suit this data.
    """

    modality: ClassVar[Modality]
    recipe: ClassVar[dict[str, Any]] = {}

    members: int = Field(100, ge=10, le=1_000_000, description="samples that the model is trained on")
    nonmembers: int = Field(
        400, ge=10, le=1_000_000, description="samples it never sees, which attacks must tell from members"
    )
    reference: int = Field(1000, ge=10, le=1_000_000, description="further samples, which utility is measured against")
    canaries: int = Field(
        0,
        ge=0,
        exclude_if=lambda count: count == 0,  # keys of records without canaries stay
        description="outliers for an audit, each of which is trained on with probability 1/2 beside the members",
    )

    @field_validator("canaries")
    @classmethod
    def _enough_and_not_too_many(cls, count: int, known: ValidationInfo) -> int:
        if 0 < count < FEWEST_CANARIES:
            raise ValueError(f"give at least {FEWEST_CANARIES}, or 0 for no audit")
        if count > known.data.get("members", count):
            raise ValueError(f"there must not be more than members ({known.data['members']})")
        return count

    def pool(self, generator: torch.Generator) -> Tensor:
        """All samples, i.i.d., (N, *item) float32 of about unit scale, N ≥ members + nonmembers + reference.

        Args:
            generator: a CPU generator for data that is drawn; fixed data ignores it.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement pool()")

    def file_facts(self, generator: torch.Generator) -> list[dict[str, float]] | None:
        """Numbers that describe the file of each sample of ``pool``, which gets the same generator; None without files.

        They are about the file, such as its size and format, and not about the sample; a missing name stands for 0. Data with
        a fixed split give those of the members, then those of the non-members, in the order of ``fixed_split`` for this seed.
        """
        return None

    def fixed_split(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor] | None:
        """Members, non-members and reference, each (N, *item), shuffled, if the data prescribe them; by default None."""
        return None

    def conditions(self, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """What a network is given beside the states of a sample, such as what its text says; None by default.

        Args:
            generator: as the one that ``fixed_split`` is given, or, where that answers None, ``pool``.

        Returns:
            The condition of each sample, in the order of ``fixed_split`` or of ``pool``: of an item's shape, (N, *item), or a
            vector such as a class as 0s and a 1, (N, F), which is now and then left out in training; and conditions under
            which samples are generated, likewise.
        """
        return None

    def complete(self, x: Tensor, conditions: Tensor) -> Tensor:
        """What samples (B, *item), as the pool gives them, stand for under their conditions; utility is measured on it."""
        return x

    def normalisation(self, members: Tensor) -> tuple[float, float]:
        """Shift and scale, fitted on the members alone: a model's data are (x − shift) / scale; by default x itself."""
        return 0.0, 1.0

    def sound(self, x: Tensor) -> tuple[Tensor, int] | None:
        """Waves (B, L) in [−1, 1] of samples (B, *item), as the pool gives them, and their rate in Hz; None for no sound."""
        return None


class Attack(Component):
    """Gives each sample one number per setting, **larger = more likely a member**.

    A score must not depend on the other samples of the batch, nor on its size. Take noise from ``ctx``, which gives every
    sample the same draws. Some samples are scored again in another batch; where the scores differ, the cell fails.

    Attributes:
        access: what the attack may use of the model: nothing ("data"), generated samples ("samples", ``ctx.samples``), the
            network's answers ("network", ``model.eps``), also their gradients ("gradients", ``model.eps_vjp`` or torch's
            own through ``model.eps`` under ``torch.enable_grad()``), or the denoiser with its weights ("weights"). Each
            includes those before it; anything beyond fails the cell.
        published: the setting that its paper reports, one of the keys that ``score`` returns.
        adaptive: whether it was designed for processes with auxiliary variables, not only for VP.
        wraps: the class of attacks that this one wraps, as its option ``base``; None if it wraps none.
        audits: whether it guesses which of the dataset's canaries were trained on, and nothing of members and non-members;
            ``score`` is then given canaries only, and its record has ``audit`` figures in place of ``attack``.
    """

    access: ClassVar[Access] = "network"
    published: ClassVar[str]
    adaptive: ClassVar[bool] = False
    wraps: ClassVar[type[Attack] | None] = None
    audits: ClassVar[bool] = False

    @property
    def display_name(self) -> str:
        """As of any component; that of a wrapper stands behind that of what it wraps, with a + between."""
        base = getattr(self, "base", None) if self.wraps else None
        own = super().display_name
        return f"{base.display_name} + {own}" if base else own

    def shadow_models(self) -> tuple[int, ShadowKind]:
        """The number of shadow models that the attack takes from ``ctx.shadows``, and their kind; by default none.

        Each is trained as the target was, on as many samples: "online" ones on a random draw of the samples to be scored,
        so that some models hold each of these; "offline" ones on a random draw of auxiliary data.
        """
        return 0, "offline"

    @property
    def tier(self) -> Tier:
        """What an attacker must have: data alone, samples, the network's answers, its weights, or also shadow models."""
        if self.shadow_models()[0]:
            return "shadows"
        return "network" if self.access == "gradients" else self.access

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Learn from the labelled calibration split, (M, *item) and (N, *item); by default nothing is learnt."""

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Score samples.

        Args:
            model: the model under attack.
            x: (B, *item) samples, float64.
            ctx: noise, generated samples, shadow models.

        Returns:
            For each setting, such as ``"t=0.1"``, a finite (B,) tensor. A setting's name has at most 40 letters, digits,
            spaces and ``=.,_+-@:/``; there are at most 1000 settings.

        Raises:
            NotApplicable: where the attack cannot work on this model, with the reason.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement score()")
