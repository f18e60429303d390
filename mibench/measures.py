"""Measures of training that any defense can take: ``vp+dropout:p=0.3+augment``, and the defense that they make."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from mibench.components import Component
from mibench.defenses import Defense
from mibench.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mibench.claims import Claim
    from mibench.components import Attack, Dataset
    from mibench.diffusion.losses import NoisedBatch
    from mibench.diffusion.model import Model
    from mibench.diffusion.process import LinearSDE
    from mibench.diffusion.training import SingleTrainer
    from mibench.recipe import Recipe

__all__ = ["Measure", "MeasuredDefense", "Stage", "measured"]

Stage = Literal["data", "network", "step", "release"]
"""What a measure changes: the members as a step sees them, the network, the step itself, or the released model."""


class Measure(Component):
    """A change of how any defense trains or releases its model. A subclass implements the stages that it changes.

    The stages are those of ``mibench.Defense``. Each is given the defense without this measure as ``inner``, and by default
    leaves its answer as it is. A measure keeps no state; what it must remember goes into buffers of the network.

    Attributes:
        stage: measures apply in the order of ``Stage``, then by name, however they are written.
        mixes: whether with it the step's gradient is no sum over members, each by itself, which DP-SGD needs.
        adaptive: the attacks of those who know of this measure, by name or label, such as ``("averaged",)``. A board marks
            a defense with † until it has met one of them.
    """

    stage: ClassVar[Stage]
    mixes: ClassVar[bool] = False
    adaptive: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def changes(cls, stage: str) -> bool:
        """Whether it changes this stage."""
        return getattr(cls, stage) is not getattr(Measure, stage)

    def check(self, inner: Defense, dataset: Dataset, recipe: Recipe) -> None:
        """Refuse data or a recipe that it cannot train with, by a UsageError of one line."""

    def network(self, network: nn.Module) -> nn.Module:
        """The untrained network with this measure, given the one without it, which may change in place."""
        return network

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe that trains, given the one without this measure."""
        return recipe

    def select(self, inner: Defense, members: Tensor) -> Tensor:
        """Which members (M, *item) it trains on, (M',) indices in ascending order."""
        return inner.select(members)

    def teachers(self, inner: Defense, size: int) -> list[tuple[Defense, Tensor]]:
        """The models that are trained first, see ``Defense.teachers``."""
        return inner.teachers(size)

    def rows(self, inner: Defense, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
        """The members of one step, (B,) indices below ``size``."""
        return inner.rows(size, recipe, generator)

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Members (B, *item), float64, as the step is to see them; all noise must come from the generator."""
        return x

    def losses(self, inner: Defense, model: Model, batch: NoisedBatch) -> Tensor:
        """The loss of each noised member, (B,); it draws nothing."""
        return inner.losses(model, batch)

    def reduce(self, inner: Defense, losses: Tensor) -> Tensor:
        """The loss of a batch from those of its members, (B,) to ()."""
        return inner.reduce(losses)

    def step(self, inner: Defense, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of the optimiser; the loss before it, (), detached. At most one measure makes the step."""
        return inner.step(training, optimizer)

    def claim(self, inner: Defense, members: int, recipe: Recipe, steps: int | None) -> Claim | None:
        """The differential privacy of the training, see ``Defense.claim``."""
        return inner.claim(members, recipe, steps)

    def release(self, model: Model) -> Model:
        """The released model, given the one without this measure."""
        return model


class MeasuredDefense(Defense):
    """A defense with one measure more. ``measured`` makes it."""

    inner: Defense
    measure: Measure

    @property
    def name(self) -> str:  # type: ignore[override]
        """The names of the defense and of its measures, joined by "+"."""
        return "+".join([self.base.name, *(measure.name for measure in self.measures)])

    @property
    def version(self) -> int:  # type: ignore[override]
        """That of the defense without measures, as in its spec, which holds those of the measures beside it."""
        return self.base.version

    @property
    def base(self) -> Defense:
        """The defense without measures."""
        return self.inner.base if isinstance(self.inner, MeasuredDefense) else self.inner

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All its measures, in the order in which they apply."""
        return (*(self.inner.measures if isinstance(self.inner, MeasuredDefense) else ()), self.measure)

    @property
    def label(self) -> str:
        """The labels of the defense and of its measures, joined by "+"."""
        return "+".join([self.base.label, *(measure.label for measure in self.measures)])

    @property
    def display_name(self) -> str:
        """The display names of the defense and of its measures, joined by " + "."""
        return " + ".join([self.base.display_name, *(measure.display_name for measure in self.measures)])

    def spec(self) -> dict[str, Any]:
        """The defense's own, with those of its measures as "measures"."""
        return self.base.spec() | {"measures": [measure.spec() for measure in self.measures]}

    @property
    def own_stages(self) -> tuple[str, ...]:
        """Those that the defense itself replaces; what its measures change is in its label."""
        return self.inner.own_stages

    @property
    def varies(self) -> bool:
        """See ``Defense.varies``."""
        return self.inner.varies or (self.measure.changes("vary") and not self.measure.mixes)

    def changes(self, stage: str) -> bool:
        """See ``Defense.changes``."""
        return self.inner.changes(stage) or self.measure.changes(stage)

    @property
    def control(self) -> Defense:
        """The same defense with the measures that change the released model alone: an exact model is not trained."""
        kept = [measure for measure in self.measures if measure.changes("release")]
        return measured(self.base.control, kept)

    def adversaries(self) -> tuple[str, ...]:
        """Those of the defense and of all its measures."""
        return tuple(dict.fromkeys((*self.inner.adversaries(), *self.measure.adaptive)))

    def unmet(self, attacks: Collection[Attack]) -> dict[str, tuple[str, ...]]:
        """The measures that met none of the attacks that they name, and the base likewise where it names any, with these.

        Args:
            attacks: that were run. One that is adaptive by itself is made for processes: it counts for the base alone.
        """
        run = {name for attack in attacks for name in (attack.name, attack.label)}
        missing = {one.label: one.adaptive for one in self.measures if run.isdisjoint(one.adaptive)}
        if self.base.adversaries() and not any(map(self.base.meets_adaptively, attacks)):
            return {self.base.label: self.base.adversaries()} | missing
        return missing

    def check(self, dataset: Dataset, recipe: Recipe) -> None:
        """See ``Defense.check``."""
        self.inner.check(dataset, recipe)
        self.measure.check(self.inner, dataset, recipe)

    def process(self) -> LinearSDE:
        """The process of the defense."""
        return self.inner.process()

    def build_model(
        self,
        shape: tuple[int, ...],
        data_variance: float,
        recipe: Recipe,
        device: str = "cpu",
        seed: int = 0,
        conditions: Tensor | None = None,
    ) -> Model:
        """The model of the defense, its network changed by the measure."""
        model = self.inner.build_model(shape, data_variance, recipe, device, seed, conditions)
        if self.measure.changes("network"):
            from mibench.diffusion.model import network_of

            denoiser = network_of(model)
            denoiser.network = self.measure.network(denoiser.network)
            denoiser.to(device)
        return model

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """See ``Defense.adapt_recipe``."""
        return self.measure.adapt_recipe(self.inner.adapt_recipe(recipe))

    def select(self, members: Tensor) -> Tensor:
        """See ``Defense.select``."""
        return self.measure.select(self.inner, members)

    def teachers(self, size: int) -> list[tuple[Defense, Tensor]]:
        """See ``Defense.teachers``."""
        return self.measure.teachers(self.inner, size)

    def rows(self, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
        """See ``Defense.rows``."""
        return self.measure.rows(self.inner, size, recipe, generator)

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """See ``Defense.vary``."""
        return self.measure.vary(self.inner.vary(x, generator), generator)

    def losses(self, model: Model, batch: NoisedBatch) -> Tensor:
        """See ``Defense.losses``."""
        return self.measure.losses(self.inner, model, batch)

    def reduce(self, losses: Tensor) -> Tensor:
        """See ``Defense.reduce``."""
        return self.measure.reduce(self.inner, losses)

    def step(self, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor:
        """See ``Defense.step``."""
        return self.measure.step(self.inner, training, optimizer)

    def claim(self, members: int, recipe: Recipe, steps: int | None = None) -> Claim | None:
        """See ``Defense.claim``."""
        return self.measure.claim(self.inner, members, recipe, steps)

    def release(self, model: Model) -> Model:
        """See ``Defense.release``."""
        return self.measure.release(self.inner.release(model))


def measured(defense: Defense, measures: Sequence[Measure]) -> Defense:
    """A defense with measures; their order is theirs, so that one training has one label and one key.

    Raises:
        UsageError: for a measure twice, two that make the step, or one that ``mixes`` beside one that makes the step.
    """
    order = get_args(Stage)
    for measure in sorted(measures, key=lambda one: (order.index(one.stage), one.name)):
        _check_together(defense, measure)
        defense = MeasuredDefense(
            inner=defense, measure=measure, parameterisation=defense.parameterisation, t_min=defense.t_min
        )
    return defense


def _check_together(defense: Defense, measure: Measure) -> None:
    """Check a measure beside those that a defense has; UsageError where they cannot train together."""
    others = defense.measures if isinstance(defense, MeasuredDefense) else ()
    where = f"defense {'+'.join([defense.label, measure.label])!r}"
    if any(other.name == measure.name for other in others):
        raise UsageError(f"{where}: the measure {measure.name!r} is given twice")
    makers = [one for one in (*others, measure) if one.changes("step")]
    if len(makers) > 1 or (makers and "step" in defense.own_stages):
        whose = " and ".join(repr(one.name) for one in makers)
        raise UsageError(f"{where}: only one can make the step, and {whose} would; leave one out")
    mixing = [one.name for one in (*others, measure) if one.mixes]
    if makers and mixing:
        raise UsageError(
            f"{where}: with {mixing[0]!r} the step's gradient is no sum over members, each by itself, "
            f"which {makers[0].name!r} needs; leave one out"
        )
