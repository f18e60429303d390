"""The denoiser of a given network, in terms of a VP process."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mibench.auditing.checkpoint import Checkpoint, dtype_of, first_half
from mibench.auditing.tabulated import Levels
from mibench.diffusion.denoisers import NetworkDenoiser, expand
from mibench.diffusion.networks import TakesConditions
from mibench.diffusion.process import Kernel
from mibench.errors import UsageError

__all__ = ["GivenDenoiser"]


class GivenConditions(TakesConditions):
    """A conditional network, under the labels or captions of the states that are asked for.

    Args:
        network: takes samples, times and conditions (B, *item).
        empty: the condition that stands for none, (*item); None where the network knows none.
        whole: whether conditions are whole numbers.
    """

    empty: Tensor | None

    def __init__(self, network: nn.Module, empty: Tensor | None, whole: bool) -> None:
        super().__init__()
        self.network, self.whole, self.has_empty = network, whole, empty is not None
        self.register_buffer("empty", empty, persistent=False)

    def forward(self, x: Tensor, times: Tensor) -> Any:
        given = self.given(len(x)).to(x.device)
        if self.empty is not None:
            none = self.is_empty(given)
            given = given if given.dim() > self.empty.dim() else expand(given, self.empty[None])
            given = torch.where(expand(none, given), self.empty.to(given), given)
        return self.network(x, times, given.long() if self.whole else given)


class GivenDenoiser(NetworkDenoiser):
    """A network that was trained elsewhere; it is given the step and not the time.

    With u = (α x_0 + σ ε) / r, r = √(α² + σ²), every prediction is ε = a u + b o, where o is the network's answer to
    ``input_scale`` r u.

    Args:
        checkpoint: the network and its levels.
        levels: the same levels as a process.
        data_variance: mean square of the members.
    """

    def __init__(self, checkpoint: Checkpoint, levels: Levels, data_variance: float) -> None:
        network = checkpoint.module
        if checkpoint.labels or checkpoint.captions:
            network = GivenConditions(network, checkpoint.empty_condition(), checkpoint.labels > 0)
        super().__init__(network, data_variance)
        self.checkpoint, self.levels = checkpoint, levels
        self._dtype = dtype_of(checkpoint.module)
        self._steps = np.arange(checkpoint.steps)
        self._log_size = np.log(np.hypot(checkpoint.alpha, checkpoint.sigma))

    def forward(self, u: Tensor, kernel: Kernel) -> Tensor:
        step = self.levels.step_of(kernel.log_snr)
        alpha, sigma = kernel.mean_coef[:, 0], kernel.factor[:, 0, 0]
        size = self._at(step, self._log_size).exp()
        answer = self.answer(u[:, 0] * expand(size, u[:, 0]), step)
        a, b = self.coefficients(alpha, sigma, size)
        return expand(a, answer) * u[:, 0] + expand(b, answer) * answer

    def answer(self, x: Tensor, step: Tensor) -> Tensor:
        """What the network says of noised samples (B, *item), in the checkpoint's own scale, at steps (B,) or (1,); float64."""
        scale, times = (self._at(step, values) for values in (self.checkpoint.input_scale, self.checkpoint.times))
        given = (x * expand(scale, x)).to(self._dtype)
        out = first_half(self.network(given, times.to(self._dtype).expand(len(x))), x.shape[1])
        if out.shape != x.shape:
            raise UsageError(f"the network answers {tuple(x.shape)} with {tuple(out.shape)}; both must have one shape")
        return out.double()

    def coefficients(self, alpha: Tensor, sigma: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """A and b of ε = a u + b o, (B,) each, at α and σ of the VP process, and r."""
        kind = self.checkpoint.prediction
        if kind == "epsilon":
            return torch.zeros_like(alpha), torch.ones_like(alpha)
        if kind == "sample":
            return 1 / sigma, -alpha / sigma
        if kind == "v_prediction":
            return sigma, alpha
        if kind == "flow":  # x = x_0 + σ_r o, ε = x + α_r o
            return size, alpha * size
        if kind == "score":
            return torch.zeros_like(alpha), -sigma * size
        level = sigma / alpha  # edm: x_0 = c_skip x + c_out o with x = x_0 + level ε, x = u / α
        total = level.square() + self.checkpoint.sigma_data**2
        skip, out = self.checkpoint.sigma_data**2 / total, level * self.checkpoint.sigma_data / total.sqrt()
        return (1 - skip) / alpha / level, -out / level * (-1 if kind == "edm_v" else 1)

    def _at(self, step: Tensor, table: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
        values = np.interp(step.cpu().numpy(), self._steps, table)
        return torch.from_numpy(values).to(step.device)
