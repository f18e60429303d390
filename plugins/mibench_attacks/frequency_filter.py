"""Frequency filter."""

from typing import Any

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor

from mibench import Attack, Context, Model
from mibench.errors import NotApplicable
from mibench.kinds import ShadowKind
from mibench_attacks.reconstruction import Reconstruction
from mibench_attacks.secmi import SecMI


class _PublishedByBase:
    """The setting that the base publishes; of the class, that of its default base."""

    def __get__(self, wrapper: "FrequencyFilter | None", owner: type) -> str:
        return SecMI.published if wrapper is None else wrapper.base.published


class FrequencyFilter(Attack):
    """Frequency filter, written attack+filter: high frequencies leave the residual of a reconstruction attack."""

    name = "filter"
    paper = "arXiv 2505.20955"
    published = _PublishedByBase()  # type: ignore[assignment]
    wraps = Reconstruction

    base: SerializeAsAny[Reconstruction] = Field(SecMI(), exclude=True, description="what stands before the +")
    radius: float = Field(5.0, gt=0, le=32, description="lowest frequencies to keep, in cycles per 32 pixels")
    scale: float = Field(0.2, ge=0, le=1, description="factor of the frequencies beyond")

    @property
    def label(self) -> str:
        """Both labels, with a + between."""
        return f"{self.base.label}+{super().label}"

    def spec(self) -> dict[str, Any]:
        """Both specs."""
        return super().spec() | {"base": self.base.spec()}

    def shadow_models(self) -> tuple[int, ShadowKind]:
        """The base's."""
        return self.base.shadow_models()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Fit the base."""
        self.base.fit(model, members, nonmembers, ctx)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−‖low-pass(residual)‖² for each setting of the base; no further evaluations.

        The filter is linear: filtering the difference is filtering sample and reconstruction.
        """
        if not ctx.modality.images:
            raise NotApplicable(f"the frequency filter needs images; this data is {ctx.modality.name}")
        height, width = x.shape[-2:]
        rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64, device=x.device) for n in (height, width))
        gain = torch.where((rows[:, None].square() + columns.square()).sqrt() <= self.radius / 32, 1.0, self.scale)
        scores = {}
        for setting, residual in self.base.residuals(model, x, ctx).items():
            kept = torch.fft.ifft2(torch.fft.fft2(residual) * gain).real
            scores[setting] = -kept.flatten(1).square().sum(1)
        return scores
