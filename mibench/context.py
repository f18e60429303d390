"""What an attack is given besides model and samples: noise, generated samples and shadow models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mibench.errors import NotApplicable
from mibench.modality import POINTS, Modality
from mibench.seeds import generator

if TYPE_CHECKING:
    from mibench.diffusion.model import Model

__all__ = ["Context", "Shadow"]


@dataclass(frozen=True)
class Shadow:
    """A model that the attacker has trained as the target was, on other data.

    Attributes:
        model: the model.
        members: (M, *item) float32, its training data.
        canaries: (C, *item) float32, the canaries that it was trained on beside them; None where the dataset has none.
    """

    model: Model
    members: Tensor
    canaries: Tensor | None = None

    def holds(self, x: Tensor) -> Tensor:
        """Whether it was trained on each of (B, *item) samples, (B,) bool: exact equality in float32."""
        parts = [self.members] if self.canaries is None else [self.members, self.canaries]
        known = {row.numpy().tobytes() for part in parts for row in part.cpu().float().contiguous()}
        return torch.tensor([row.numpy().tobytes() in known for row in x.detach().cpu().float().contiguous()])


class Context:
    """The noise of a cell (common random numbers: the same draws for every sample), and the attacker's data and models.

    Args:
        seed: of the cell.
        device: where tensors are wanted.
        modality: the kind of data.
        auxiliary: (A, *item) further data of the same distribution, neither members nor non-members.
        draw: gives that many generated samples of the model under attack, (count, *item).
        shadows: gives the first ``count`` shadow models of a kind (see ``Attack.shadow_models``).
        file_facts: gives the facts of the files behind samples (B, *item) of the split.
        vary: what a step of the training makes of samples (see ``Defense.vary``), which the attacker knows as all of the
            defense (Kerckhoffs); None where it leaves a sample as it is, or only mixes it with others.
        changed_release: whether the defense changes the trained model before it is released, which the attacker knows, too.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        modality: Modality = POINTS,
        auxiliary: Tensor | None = None,
        draw: Callable[[int], Tensor] | None = None,
        shadows: Callable[[int, str], list[Shadow]] | None = None,
        file_facts: Callable[[Tensor], Tensor] | None = None,
        vary: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        changed_release: bool = False,
    ) -> None:
        self.seed, self.device, self.modality, self.auxiliary = seed, device, modality, auxiliary
        self.vary, self.changed_release = vary, changed_release
        self._draw, self._shadows, self._file_facts = draw, shadows, file_facts
        self._bank: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._samples: dict[int, Tensor] = {}

    def generator(self, name: str) -> torch.Generator:
        """A fresh CPU generator for this name; the same at every call."""
        return generator(self.seed, "attack", name)

    def noise(self, name: str, *shape: int) -> Tensor:
        """Standard normal draws of this shape, float64; the same at every call with this name."""
        key = (name, shape)
        if key not in self._bank:
            draw = torch.randn(*shape, generator=self.generator(name), dtype=torch.float64)
            self._bank[key] = draw.to(self.device)
        return self._bank[key]

    def samples(self, count: int) -> Tensor:
        """Generated samples of the model under attack, (count, *item) float64; drawn once.

        Raises:
            MibenchError: where the attack declares the access "data".
        """
        if self._draw is None:
            raise LookupError("this context has no model to draw samples from")
        if count not in self._samples:
            self._samples[count] = self._draw(count)
        return self._samples[count]

    def shadows(self, count: int, kind: str) -> list[Shadow]:
        """The first ``count`` shadow models of a kind."""
        if self._shadows is None:
            raise LookupError("this context has no shadow models")
        return self._shadows(count, kind)

    def file_facts(self, x: Tensor) -> Tensor:
        """Facts of the files that samples (B, *item) of the split come from, such as size and format, (B, F) float64.

        Raises:
            NotApplicable: where the samples come from no files.
        """
        if self._file_facts is None:
            raise NotApplicable("the samples come from no files")
        return self._file_facts(x)
