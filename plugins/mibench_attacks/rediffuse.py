"""ReDiffuse."""

from typing import ClassVar

from pydantic import Field

from mibench_attacks.options import Time
from mibench_attacks.reconstruction import Reconstruction


class ReDiffuse(Reconstruction):
    """ReDiffuse: the sample against the mean of its variations, noised to t and denoised again."""

    name: ClassVar = "rediffuse"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2405.20771"
    published: ClassVar = "t=0.2"

    draws: int = Field(10, ge=1, le=10_000, description="variations of each sample")
    stride: float = Field(0.1, gt=0, le=1, description="of a denoising step, a fraction of the horizon")
    times: tuple[Time, ...] = Field(
        (0.05, 0.1, 0.2, 0.3), min_length=1, description="noise levels of the variations, fractions of the horizon"
    )

    def residuals(self, model, x, ctx):
        """The sample less mean_r q̂_0(u_t^r), with q̂_0 by deterministic steps from t down; R · ⌈t / stride⌉ evaluations per time.

        Only variations of the sample are needed, which a service may offer that hides its network.
        """
        noise = ctx.noise("draws", self.draws, model.process.order, *model.shape)
        return {
            f"t={time:g}": x - sum(self._variation(model, x, eps, time) for eps in noise) / self.draws
            for time in self.times
        }

    def _variation(self, model, x, eps, time):
        t = time * model.process.horizon
        u = model.noised(x, eps, t)
        clean = model.predict_x0(u, model.eps(u, t), t)
        while (after := t - self.stride * model.process.horizon) > 1e-9 * t:
            u, t = model.step(u, clean, t, after), after
            clean = model.predict_x0(u, model.eps(u, t), t)
        return clean
