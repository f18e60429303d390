"""The defense: how a diffusion model is built, trained and released."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mibench.components import Attack, Component

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mibench.claims import Claim
    from mibench.components import Dataset
    from mibench.diffusion.losses import NoisedBatch
    from mibench.diffusion.model import Model
    from mibench.diffusion.process import LinearSDE
    from mibench.diffusion.training import SingleTrainer
    from mibench.recipe import Recipe

__all__ = ["STAGES", "Defense"]

ALONE = ("teachers", "rows", "losses", "reduce", "step")
"""The models of a defense that replaces one of these stages train one by one."""

STAGES = ("build_model", "network", "adapt_recipe", "select", "vary", *ALONE, "release")
"""The stages of making a model that have a default."""


class Defense(Component):
    """How a diffusion model is built, trained and released.

    A subclass implements ``process``; every other stage has a default. A ``mibench.Measure`` changes stages of any defense.

    Attributes:
        adaptive: the attacks that its authors consider strongest, such as ``("adaptive",)``.
    """

    adaptive: ClassVar[tuple[str, ...]] = ()

    parameterisation: Literal["plain", "sufficient"] = Field(
        "plain", description="what the network sees: all n blocks, or the sufficient statistic"
    )
    t_min: float = Field(1e-3, ge=1e-5, le=0.1, description="smallest time, as a fraction of the horizon")

    @property
    def own_stages(self) -> tuple[str, ...]:
        """Which of the stages that have a default it replaces, such as "losses"; its process alone does not tell of them."""
        return tuple(stage for stage in STAGES if getattr(type(self), stage) is not getattr(Defense, stage))

    @property
    def stackable(self) -> bool:
        """Whether a step is the default one, but for ``vary``, so that several models can train in one."""
        return not any(map(self.changes, ALONE))

    @property
    def varies(self) -> bool:
        """Whether a step changes a member by itself (``vary``), and does not only mix it with others."""
        return "vary" in self.own_stages

    def changes(self, stage: str) -> bool:
        """Whether it, or one of its measures, replaces this stage, such as "release"."""
        return stage in self.own_stages

    @property
    def control(self) -> Defense:
        """The defense whose exact model is also this one's: itself, or the defense without measures of training."""
        return self

    def adversaries(self) -> tuple[str, ...]:
        """The attacks that are strongest against it, as its authors say; by default ``adaptive``."""
        return self.adaptive

    def meets_adaptively(self, attack: Attack) -> bool:
        """Whether an attack is adaptive for this defense: the attack says so of itself, or the defense names it."""
        return attack.adaptive or not {attack.name, attack.label}.isdisjoint(self.adversaries())

    def check(self, dataset: Dataset, recipe: Recipe) -> None:
        """Refuse data or a recipe that it cannot train with; by default nothing is refused.

        Raises:
            UsageError: with what is wrong and what to do, in one line.
        """

    def process(self) -> LinearSDE:
        """The forward process."""
        raise NotImplementedError(f"{type(self).__name__} must implement process()")

    def build_model(
        self,
        shape: tuple[int, ...],
        data_variance: float,
        recipe: Recipe,
        device: str = "cpu",
        seed: int = 0,
        conditions: Tensor | None = None,
    ) -> Model:
        """An untrained model; on CUDA the weights of convolutions are stored channels last, which is fastest.

        Args:
            shape: of one item.
            data_variance: mean square of the members, which scales the network's input.
            recipe: gives the network's size.
            device: where the model lives.
            seed: of the initial weights.
            conditions: of the members, (M, *shape) or vectors (M, F); None for data without.
        """
        import torch

        from mibench.diffusion.denoisers import parameterisations
        from mibench.diffusion.model import Model
        from mibench.diffusion.networks import with_conditions

        process, parameterisation = self.process(), parameterisations[self.parameterisation]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            blocks = parameterisation.input_blocks(process.order)
            if conditions is None:
                network = self.network(blocks, shape, recipe)
            else:
                network = self.network(blocks + 1, shape, recipe)
                network = with_conditions(network, conditions, shape, recipe.drop_condition)
        denoiser = parameterisation(network, data_variance).to(device)
        if torch.device(device).type == "cuda":
            denoiser = denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Model(process, denoiser, shape, device)

    def network(self, blocks: int, shape: tuple[int, ...], recipe: Recipe) -> nn.Module:
        """The network that maps ((B, blocks, *shape), log-SNR (B,)) to (B, *shape); by default the recipe's."""
        from mibench.diffusion.networks import build

        return build(blocks, shape, recipe)

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe that trains, given the one that the suite asks for: fewer steps, weight decay; by default the same."""
        return recipe

    def select(self, members: Tensor) -> Tensor:
        """Which members (M, *item) it trains on, (M',) indices in ascending order; by default all."""
        import torch

        return torch.arange(len(members))

    def teachers(self, size: int) -> list[tuple[Defense, Tensor]]:
        """The models that are trained first, each as a defense and the members that it learns; by default none.

        Args:
            size: the number of members. A teacher's are indices below it, (T,).
        """
        return []

    def rows(self, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
        """The members of one step, (B,) indices below ``size``; by default a batch, drawn with replacement."""
        import torch

        return torch.randint(size, (recipe.batch,), generator=generator, device=generator.device)

    def vary(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Members (B, *item), float64, as the step is to see them; by default as they are.

        Args:
            x: in the units of the model; it must not change in place.
            generator: on the device of ``x``; all noise must come from it.
        """
        return x

    def losses(self, model: Model, batch: NoisedBatch) -> Tensor:
        """The loss of each noised member, (B,): hybrid score matching (2112.07068 eq. 8), ‖ε_θ(u_t, t) − ε_n‖² per dimension.

        It draws nothing, and the loss of one must not depend on the others, so that it can be differentiated one by one.

        Args:
            model: the model in training; ``model.denoiser(u, kernel)`` answers with gradients.
            batch: B members with noise.
        """
        from mibench.diffusion.losses import hybrid_score_matching

        return hybrid_score_matching(model, batch)

    def reduce(self, losses: Tensor) -> Tensor:
        """The loss of a batch from those of its members, (B,) to (); by default the mean."""
        return losses.mean()

    def step(self, training: SingleTrainer, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of the optimiser; the loss before it, (), detached. By default with the gradient's norm clipped.

        Args:
            training: draws the batch (``training.batch``) and gives its loss (``training.loss``, ``training.losses``).
            optimizer: of the model's parameters.
        """
        from mibench.diffusion.losses import clipped_step

        loss = training.loss(training.batch())
        clipped_step(training.model, loss, optimizer, training.recipe.clip)
        return loss.detach()

    def claim(self, members: int, recipe: Recipe, steps: int | None = None) -> Claim | None:
        """The differential privacy that its training is proved to have; by default none is claimed.

        Args:
            members: how many samples it is trained on.
            recipe: that trains, as ``adapt_recipe`` gave it.
            steps: after which the model is taken; by default the last.

        Raises:
            UsageError: where its options cannot give what they ask for.
        """
        return None

    def release(self, model: Model) -> Model:
        """The model that attackers and users are given; by default as trained."""
        return model
