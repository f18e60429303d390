"""What a training step costs beside a minimal loop on the same network, as a Markdown table.

Run ``.venv/bin/python benchmarks/step_overhead.py`` (half a minute on one core); ``--steps N`` measures more. One thread, batch
64 (16 for the U-Net), width 96. The minimal loop draws members, times and noise in float32, noises with one coefficient each,
and has the same squared error, clipping, AdamW and moving average. Steps of both alternate, so that other load on the machine
meets both; ms of processor time, the lower quartile. Exits with 1 where a step costs over a tenth more than a minimal one.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mibench import Defense, Recipe
from mibench.diffusion.model import network_of
from mibench.diffusion.optimise import Task, adam
from mibench.diffusion.side_by_side import without_vmap
from mibench.diffusion.stacked import StackedTrainer
from mibench.diffusion.training import SingleTrainer
from mibench_defenses import HOLD, VP

LIMIT = 1.1
CASES = {
    "MLP, 2-D": ((2,), Recipe(width=96, fourier=64)),
    "MLP, digits": ((1, 8, 8), Recipe(width=96)),
    "unet-tiny, 16×16": ((1, 16, 16), Recipe(network="unet-tiny", batch=16)),
}


def step_of(defense: Defense, recipe: Recipe, members: Tensor) -> tuple[Callable[[], object], nn.Module]:
    """A step as ``optimise`` does it, moving average included, and the untrained network."""
    model = defense.build_model(tuple(members.shape[1:]), 1.0, recipe)
    network = copy.deepcopy(network_of(model).network).train()
    network_of(model).train()
    task: Task = SingleTrainer(defense, model, members, recipe, 0)
    if without_vmap(network):
        task = StackedTrainer(defense, [model], [members], recipe, [0])
    optimizer, weights = adam(task, recipe), [p.detach() for p in task.parameters.values()]
    average = [p.clone() for p in weights]

    def step() -> None:
        task.step(optimizer)
        torch._foreach_lerp_(average, weights, 1 - recipe.ema)

    return step, network


def minimal(network: nn.Module, order: int, recipe: Recipe, members: Tensor) -> Callable[[], object]:
    """A step of the loop that one would write by hand."""
    parameters, size, item = list(network.parameters()), recipe.batch, members.shape[1:]
    optimizer, members = torch.optim.AdamW(parameters, lr=1e-3, fused=True), members.float()
    average = [p.detach().clone() for p in parameters]

    def step() -> None:
        x, t = members[torch.randint(len(members), (size,))], torch.rand(size)
        eps, scale = torch.randn(size, order, *item), t.view(-1, 1, *[1] * len(item))
        u = (1 - scale) * x[:, None] + scale * eps
        loss = (network(u, t) - eps[:, -1]).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - recipe.ema)

    return step


def alternating(*steps: Callable[[], object], count: int) -> list[float]:
    """The lower quartile of the ms of each."""
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(count + 5):
        for step, times in zip(steps, taken, strict=True):
            start = time.process_time()
            step()
            times.append((time.process_time() - start) * 1e3)
    return [statistics.quantiles(times[5:], n=4)[0] for times in taken]


def main() -> bool:
    """Print a row per network and order; whether all are within the limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    count, fine = parser.parse_args().steps, True
    torch.set_num_threads(1)
    print("| network | order | step | minimal | ratio |")
    print("|---|---|---|---|---|")
    for name, (item, recipe) in CASES.items():
        members = torch.randn(300, *item, generator=torch.Generator().manual_seed(0))
        for order in (1, 3):
            own, network = step_of(VP() if order == 1 else HOLD(order=order), recipe, members)
            times = alternating(own, minimal(network, order, recipe, members), count=count)
            fine = fine and times[0] <= LIMIT * times[1]
            print(f"| {name} | {order} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.2f} |", flush=True)
    return fine


if __name__ == "__main__":
    raise SystemExit(not main())
