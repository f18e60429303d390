"""SecMI."""

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor

from mibench import Context, Model
from mibench_attacks.reconstruction import Reconstruction


class SecMI(Reconstruction):
    """SecMI: the error of one deterministic step there and back, on the data variable."""

    name = "secmi"
    title = "SecMI"
    paper = "arXiv 2302.01316"
    published = "t=0.1"

    stride: float = Field(0.01, gt=0, le=0.5, description="δ, a fraction of the horizon")
    steps: int = Field(30, ge=1, le=1000, description="length of the chain; steps × stride is its last time")

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.stride * self.steps > 1 + 1e-9:
            raise ValueError("steps × stride must be at most 1")
        return self

    def residuals(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Back(forth(u_{t−δ})) − u_{t−δ}, the data block, along the deterministic chain from t_min, auxiliaries at rest.

        Each point is evaluated once: K + 1 evaluations give K settings, named by t as in the paper (its t = 100, k = 10 of
        1000 is "t=0.1" here).
        """
        u, t, residuals = model.at_rest(x), model.process.t_min, {}
        eps = model.eps(u, t)
        for time in (k * self.stride for k in range(1, self.steps + 1)):
            ahead = time * model.process.horizon
            if ahead <= t:
                continue
            forth = model.step(u, model.predict_x0(u, eps, t), t, ahead)
            eps = model.eps(forth, ahead)
            back = model.step(forth, model.predict_x0(forth, eps, ahead), ahead, t)
            residuals[f"t={time:g}"] = (back - u)[:, 0]
            u, t = forth, ahead
        return residuals
