"""The defense: how a diffusion model is built, trained and released."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mibench.components import Attack, Component

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mibench.diffusion.model import Model
    from mibench.diffusion.process import Kernel, LinearSDE
    from mibench.recipe import Recipe

__all__ = ["Defense"]


class Defense(Component):
    """How a diffusion model is built and trained. A subclass implements ``process``; every other step has a default.

    Attributes:
        adaptive: the attacks that its authors consider strongest, such as ``("adaptive",)``.
    """

    adaptive: ClassVar[tuple[str, ...]] = ()

    parameterisation: Literal["plain", "sufficient"] = Field(
        "plain", description="what the network sees: all n blocks, or the sufficient statistic"
    )
    t_min: float = Field(1e-3, ge=1e-5, le=0.1, description="smallest time, as a fraction of the horizon")

    @property
    def own_steps(self) -> tuple[str, ...]:
        """Which of the steps that have a default it replaces, such as "loss"; its process alone does not tell of them."""
        steps = ("build_model", "network", "loss", "update", "release")
        return tuple(step for step in steps if getattr(type(self), step) is not getattr(Defense, step))

    @property
    def stackable(self) -> bool:
        """Whether loss and update are the default ones, so that several models can train in one step."""
        return not {"loss", "update"}.intersection(self.own_steps)

    def meets_adaptively(self, attack: Attack) -> bool:
        """Whether an attack is adaptive for this defense: the attack says so of itself, or the defense names it."""
        return attack.adaptive or attack.name in self.adaptive

    def process(self) -> LinearSDE:
        """The forward process."""
        raise NotImplementedError(f"{type(self).__name__} must implement process()")

    def build_model(
        self, shape: tuple[int, ...], data_variance: float, recipe: Recipe, device: str = "cpu", seed: int = 0
    ) -> Model:
        """An untrained model; on CUDA the weights of convolutions are stored channels last, which is fastest.

        Args:
            shape: of one item.
            data_variance: mean square of the members, which scales the network's input.
            recipe: gives the network's size.
            device: where the model lives.
            seed: of the initial weights.
        """
        import torch

        from mibench.diffusion.denoisers import parameterisations
        from mibench.diffusion.model import Model

        process, parameterisation = self.process(), parameterisations[self.parameterisation]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.network(parameterisation.input_blocks(process.order), shape, recipe)
        denoiser = parameterisation(network, data_variance).to(device)
        if torch.device(device).type == "cuda":
            denoiser = denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Model(process, denoiser, shape, device)

    def network(self, blocks: int, shape: tuple[int, ...], recipe: Recipe) -> nn.Module:
        """The network that maps ((B, blocks, *shape), log-SNR (B,)) to (B, *shape); by default the recipe's."""
        from mibench.diffusion.networks import build

        return build(blocks, shape, recipe)

    def loss(self, model: Model, batch: Tensor, kernel: Kernel, generator: torch.Generator) -> Tensor:
        """The training loss of a batch: hybrid score matching (2112.07068 eq. 8), E ‖ε_θ(u_t, t) − ε_n‖² per dimension.

        Args:
            model: the model in training; ``model.denoiser(u, kernel)`` answers with gradients.
            batch: (B, *item) members.
            kernel: the process' kernel at B training times.
            generator: on the model's device; all noise must come from it.
        """
        from mibench.diffusion.losses import hybrid_score_matching

        return hybrid_score_matching(model, batch, kernel, generator)

    def update(
        self, model: Model, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float, generator: torch.Generator
    ) -> None:
        """One optimiser step from a loss; by default with the gradient's norm clipped.

        Args:
            model: the model in training.
            loss: of a batch, as ``loss`` gave it.
            optimizer: of the model's parameters.
            clip: the recipe's limit of the gradient's norm.
            generator: on the model's device; all noise must come from it. Its state is saved with an interrupted training,
                which then resumes bit for bit.
        """
        from mibench.diffusion.losses import clipped_step

        clipped_step(model, loss, optimizer, clip)

    def release(self, model: Model) -> Model:
        """The model that attackers and users are given; by default as trained."""
        return model
