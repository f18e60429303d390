"""The three components that plugins offer: Dataset, Defense and Attack. One class is one method.

A component is a frozen pydantic model: its fields are its options (typed, with a default and a range), its class
variables say what it is. It is written ``name:option=value,…`` on the command line and in suites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mibench.context import Context
    from mibench.diffusion.model import Model
    from mibench.diffusion.process import LinearSDE
    from mibench.recipe import Recipe

__all__ = ["Access", "Attack", "Component", "Dataset", "Defense", "Modality", "ShadowKind", "Tier"]

Modality = Literal["points", "image", "mel"]
Access = Literal["data", "samples", "network", "gradients", "weights"]
ShadowKind = Literal["online", "offline"]
Tier = Literal["data", "samples", "network", "weights", "shadows"]


class Component(BaseModel):
    """What datasets, defenses and attacks share.

    Attributes:
        name: lower-case letters, digits and dashes, beginning with a letter.
        version: raise it whenever the numbers change; records of an older version are then stale.
        paper: where it is from, such as "arXiv 2305.18355".
        shorthand: the option that digits after the name set: with "order", ``hold3`` is ``hold:order=3``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    paper: ClassVar[str] = ""
    shorthand: ClassVar[str | None] = None

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else ""

    @property
    def label(self) -> str:
        """The shortest text that names this component with these options."""
        options = {k: v for k, v in self.model_dump().items() if v != type(self).model_fields[k].default}
        head = self.name
        if self.shorthand:
            head += str(getattr(self, self.shorthand))
            options.pop(self.shorthand, None)
        text = ",".join(
            f"{k}={str(list(v)).replace(' ', '') if isinstance(v, tuple) else v}" for k, v in options.items()
        )
        return f"{head}:{text}" if text else head

    def spec(self) -> dict[str, Any]:
        """What identifies this component in keys and records: name, version and every option."""
        return {"name": self.name, "version": self.version, "options": self.model_dump(mode="json")}


class Dataset(Component):
    """A pool of samples, split by seed into members, non-members and a reference (``mibench.data.Split``).

    A subclass implements ``pool``. ``recipe`` holds the fields of the training recipe that suit this data.
    """

    modality: ClassVar[Modality]
    recipe: ClassVar[dict[str, Any]] = {}

    members: int = Field(100, ge=10, le=1_000_000, description="samples that the model is trained on")
    nonmembers: int = Field(
        400, ge=10, le=1_000_000, description="samples it never sees, which attacks must tell from members"
    )
    reference: int = Field(1000, ge=10, le=1_000_000, description="further samples, which utility is measured against")

    def pool(self, generator: torch.Generator) -> Tensor:
        """All samples, i.i.d., (N, *item) float32 of about unit scale, N ≥ members + nonmembers + reference.

        Args:
            generator: a CPU generator for data that is drawn; fixed data ignores it.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement pool()")

    def parts(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor] | None:
        """Members, non-members and reference, each (N, *item), shuffled, where the data say which is which; else None."""
        return None

    def normalisation(self, members: Tensor) -> tuple[float, float]:
        """Shift and scale, fitted on the members alone: models are given (x − shift) / scale of all samples x; by default x."""
        return 0.0, 1.0

    def sound(self, x: Tensor) -> tuple[Tensor, int] | None:
        """Waves (B, L) in [−1, 1] of samples (B, *item), as the pool gives them, and their rate in Hz; None for no sound."""
        return None


class Defense(Component):
    """How a diffusion model is built and trained. A subclass implements ``process``; every other step has a default.

    Attributes:
        adaptive: the attacks that its authors consider strongest, such as ``("adaptive",)``; suites should run them.
    """

    adaptive: ClassVar[tuple[str, ...]] = ()

    parameterisation: Literal["plain", "sufficient"] = Field(
        "plain", description="what the network sees: all n blocks, or the sufficient statistic"
    )
    t_min: float = Field(1e-3, ge=1e-5, le=0.1, description="smallest time, as a fraction of the horizon")

    def meets_adaptively(self, attack: Attack) -> bool:
        """Whether an attack is an adaptive one for this defense: by its own word, or by that of the defense."""
        return attack.adaptive or attack.name in self.adaptive

    def process(self) -> LinearSDE:
        """The forward process."""
        raise NotImplementedError(f"{type(self).__name__} must implement process()")

    def network(self, blocks: int, shape: tuple[int, ...], recipe: Recipe) -> nn.Module:
        """The network that maps ((B, blocks, *shape), log-SNR (B,)) to (B, *shape); by default the recipe's."""
        from mibench.diffusion.networks import build

        return build(blocks, shape, recipe)

    def loss(self, model: Model, batch: Tensor, kernel: Any, generator: torch.Generator) -> Tensor:
        """The training loss of a batch: hybrid score matching (2112.07068 eq. 8), E ‖ε_θ(u_t, t) − ε_n‖² per dimension.

        Args:
            model: the model in training; ``model.denoiser(u, kernel)`` answers with gradients.
            batch: (B, *item) members.
            kernel: the process' kernel at B training times.
            generator: on the model's device; all noise must come from it.
        """
        from mibench.diffusion.training import hybrid_score_matching

        return hybrid_score_matching(model, batch, kernel, generator)

    def update(self, model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> None:
        """One optimiser step from a loss; by default with the gradient's norm clipped."""
        from mibench.diffusion.training import clipped_step

        clipped_step(model, loss, optimizer, clip)

    def release(self, model: Model) -> Model:
        """The model as attackers and users of its samples meet it; by default as trained."""
        return model


class Attack(Component):
    """Gives each sample one number per setting, **larger = more likely a member**.

    A score belongs to its sample: it must not depend on the other samples of the batch, nor on its size. Take noise from
    ``ctx``, which gives every sample the same draws. Some samples are scored again in a batch of their own, and the cell of
    an attack that then says otherwise fails.

    Attributes:
        access: what the attack needs of the model, and all that it gets: nothing ("data"), its samples (``ctx.samples``), the
            network's answers, their gradients as well, the denoiser itself with its weights. Each includes those before it.
        published: the setting that its paper reports, one of the keys that ``score`` returns.
        adaptive: whether it was made for processes with auxiliary variables, not only for VP.
    """

    access: ClassVar[Access] = "network"
    published: ClassVar[str]
    adaptive: ClassVar[bool] = False

    def shadow_models(self) -> tuple[int, ShadowKind]:
        """How many shadow models ``ctx.shadows`` must be able to give, and of which kind; by default none.

        Each is trained as the target was, on as many samples: "online" ones on a random draw of the samples to be judged,
        so that each of these is known to some of them; "offline" ones on a random draw of auxiliary data.
        """
        return 0, "offline"

    @property
    def tier(self) -> Tier:
        """What an attacker must have: data alone, samples, the network's answers, its weights, or shadow models beside."""
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
            ctx: the noise bank.

        Returns:
            For each setting, such as ``"t=0.1"``, a finite (B,) tensor.

        Raises:
            NotApplicable: where the attack cannot work on this model, with the reason.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement score()")
