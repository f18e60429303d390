"""Audit with canaries."""

from pydantic import field_validator
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.kinds import ShadowKind
from mibench_attacks.wrapper import Wrapper


class Audit(Wrapper):
    """Audit, written attack+audit: a lower bound on ε from an attack's guesses of which canaries were trained on."""

    name = "audit"
    paper = "arXiv 2305.08846"
    audits = True

    @field_validator("base")
    @classmethod
    def _asks_the_model(cls, base: Attack) -> Attack:
        if base.access == "data" or base.audits:
            raise ValueError(f"{base.name!r} cannot be audited with; name an attack on the model, such as loss")
        return base

    def shadow_models(self) -> tuple[int, ShadowKind]:
        """The base's."""
        return self.base.shadow_models()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Fit the base to members and non-members; nothing is learnt of canaries."""
        self.base.fit(model, members, nonmembers, ctx)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The base's scores, of canaries."""
        return self.base.score(model, x, ctx)
