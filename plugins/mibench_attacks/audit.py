"""Audit with canaries."""

from typing import Any

from pydantic import Field, SerializeAsAny, field_validator
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.kinds import ShadowKind
from mibench_attacks.loss import Loss


class _OfBase:
    """A class variable of the base; of the class, that of its default base."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, audit: "Audit | None", owner: type) -> Any:
        return getattr(Loss if audit is None else audit.base, self.name)


class Audit(Attack):
    """Audit, written attack+audit: a lower bound on ε from an attack's guesses of which canaries were trained on."""

    name = "audit"
    paper = "arXiv 2305.08846"
    access = _OfBase()  # type: ignore[assignment]
    published = _OfBase()  # type: ignore[assignment]
    wraps = Attack
    audits = True

    base: SerializeAsAny[Attack] = Field(Loss(), exclude=True, description="what stands before the +")

    @field_validator("base")
    @classmethod
    def _asks_the_model(cls, base: Attack) -> Attack:
        if base.access == "data" or base.audits:
            raise ValueError(f"{base.name!r} cannot be audited with; name an attack on the model, such as loss")
        return base

    @property
    def label(self) -> str:
        """The base's label, with the name behind a +."""
        return f"{self.base.label}+{super().label}"

    def spec(self) -> dict[str, Any]:
        """Both specs."""
        return super().spec() | {"base": self.base.spec()}

    def shadow_models(self) -> tuple[int, ShadowKind]:
        """The base's."""
        return self.base.shadow_models()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Fit the base to members and non-members; nothing is learnt of canaries."""
        self.base.fit(model, members, nonmembers, ctx)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The base's scores, of canaries."""
        return self.base.score(model, x, ctx)
