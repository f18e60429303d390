"""What the forward process costs in a training step: gathering the kernel and noising the batch, digits MLP, batch 128.

Run ``.venv/bin/python benchmarks/kernel_share.py``. Medians over alternating repetitions; drawing ε is not counted. It exits
with 1 where a share reaches 5 %.
"""

from __future__ import annotations

import statistics
import time

import torch

from mibench import Recipe
from mibench.data import split
from mibench.diffusion.denoisers import expand
from mibench.diffusion.training import TIMES
from mibench_datasets import Digits
from mibench_defenses import HOLD

REPETITIONS, BATCH = 200, 128


def main() -> bool:
    """Print a row per order; whether all shares are below 5 %."""
    torch.set_num_threads(1)
    data = split(Digits(), 0)
    members = data.members.double()
    recipe = Recipe(**(Digits.recipe | {"batch": BATCH}))
    shares = []
    print("order  table (s)  kernel (ms)  step (ms)  share")
    for order in (1, 2, 3, 4):
        defense = HOLD(order=order)
        model = defense.build_model(data.shape, data.data_variance, recipe)
        process, optimizer = model.process, torch.optim.Adam(model.denoiser.parameters(), fused=True)
        began = time.perf_counter()
        quantiles = (torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES
        table = process.tabulated(process.t_min + (process.horizon - process.t_min) * quantiles)
        built = time.perf_counter() - began
        generator = torch.Generator().manual_seed(0)
        kernel_times, step_times = [], []
        for _ in range(REPETITIONS):
            batch = members[torch.randint(len(members), (BATCH,), generator=generator)]
            index = torch.randint(TIMES, (BATCH,), generator=generator)
            eps = torch.randn(BATCH, order, *data.shape, generator=generator).double()
            began = time.perf_counter()
            kernel = table.take(index)
            torch.einsum("bij,bj...->bi...", kernel.factor, eps) + expand(kernel.mean_coef, eps) * batch[:, None]
            kernel_times.append(time.perf_counter() - began)
            began = time.perf_counter()
            defense.update(
                model, defense.loss(model, batch, table.take(index), generator), optimizer, recipe.clip, generator
            )
            step_times.append(time.perf_counter() - began)
        kernel_ms, step_ms = (statistics.median(t) * 1e3 for t in (kernel_times, step_times))
        print(f"{order:>5}  {built:>9.2f}  {kernel_ms:>11.3f}  {step_ms:>9.2f}  {kernel_ms / step_ms:>5.1%}")
        shares.append(kernel_ms / step_ms)
    return max(shares) < 0.05


if __name__ == "__main__":
    raise SystemExit(not main())
