"""What the order of the process costs in a training step of a U-Net: order n against order 1, as a Markdown table.

Run ``.venv/bin/python benchmarks/order_cost.py`` (three minutes on one core, seconds on a GPU: ``--device cuda --batch 128``).
Whole steps of training in the plain parameterisation, whose network sees all n blocks: batch, noise, network, gradient, Adam.
The orders take turns; on the CPU processor time counts, on one thread. It exits with 1 where an order costs 5 % more.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from mibench import Recipe
from mibench.diffusion.optimise import adam
from mibench.diffusion.training import SingleTrainer
from mibench.evaluate.backends import set_backends
from mibench_defenses import HOLD

ORDERS, LIMIT = (1, 2, 3, 4), 1.05


def main() -> bool:
    """Print a row per order; whether all are within the limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--network", choices=["unet-tiny", "unet-cifar"], default="unet-cifar")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    set_backends(given.device)
    recipe = Recipe(batch=given.batch, network=given.network, precision=given.precision)
    images = torch.randint(256, (256, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
    steps = []
    for order in ORDERS:
        defense = HOLD(order=order)
        task = SingleTrainer(defense, defense.build_model((3, 32, 32), 1.0, recipe, given.device), images, recipe, 0)
        steps.append((task, adam(task, recipe)))
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    taken: list[list[float]] = [[] for _ in ORDERS]
    for _ in range(1 + given.repetitions):
        for (task, optimizer), times in zip(steps, taken, strict=True):
            began = clock()
            task.step(optimizer)
            if given.device == "cuda":
                torch.cuda.synchronize()
            times.append((clock() - began) * 1e3)
    medians = [statistics.median(times[1:]) for times in taken]
    print(
        f"{given.network}, batch {given.batch}, {given.precision}, {given.device}, median of {given.repetitions} steps\n"
    )
    print("| order | ms a step | against order 1 |\n|---|---|---|")
    for order, median in zip(ORDERS, medians, strict=True):
        print(f"| {order} | {median:.1f} | {median / medians[0]:.3f} |")
    return max(medians) <= LIMIT * medians[0]


if __name__ == "__main__":
    raise SystemExit(not main())
