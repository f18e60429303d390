"""ReDiffuse."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Context, Model
from mibench_attacks.options import Time
from mibench_attacks.reconstruction import Reconstruction


class ReDiffuse(Reconstruction):
    """ReDiffuse: the sample against the mean of its variations, noised to t and denoised again."""

    name = "rediffuse"
    title = "ReDiffuse"
    paper = "arXiv 2405.20771"
    published = "t=0.2"

    draws: int = Field(10, ge=1, le=10_000, description="variations of each sample")
    stride: float = Field(0.1, gt=0, le=1, description="of a denoising step, a fraction of the horizon")
    times: tuple[Time, ...] = Field(
        (0.05, 0.1, 0.2, 0.3), min_length=1, description="noise levels of the variations, fractions of the horizon"
    )

    def residuals(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The sample less mean_r q̂_0(u_t^r), with q̂_0 by deterministic steps from t down; R · ⌈t / stride⌉ evaluations per time.

        Only variations of the sample are needed, which a service that hides its network may offer.
        """
        noise = ctx.noise("draws", self.draws, *model.state_shape)
        residuals = {}
        for time in self.times:
            variations = [self._variation(model, x, eps, time * model.process.horizon) for eps in noise]
            residuals[f"t={time:g}"] = x - sum(variations, torch.zeros(())) / self.draws
        return residuals

    def _variation(self, model: Model, x: Tensor, eps: Tensor, t: float) -> Tensor:
        u = model.noised(x, eps, t)
        x0 = model.predict_x0(u, model.eps(u, t), t)
        while (after := t - self.stride * model.process.horizon) > 1e-9 * t:
            u, t = model.step(u, x0, t, after), after
            x0 = model.predict_x0(u, model.eps(u, t), t)
        return x0
