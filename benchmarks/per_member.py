"""What gradients of single members cost in a training step, against a plain step and opacus' hooks, as a Markdown table.

Run ``.venv/bin/python benchmarks/per_member.py`` (some minutes on one core). opacus is measured where it can be imported, such
as from a folder in ``PYTHONPATH`` (``pip install --target FOLDER --no-deps opacus opt_einsum``). VP, batch 64, digits for the
MLP and 3×32×32 for the U-Net; one thread, ms of processor time per step, the median of several after a warm-up; MiB that a step
adds to the peak of the process after one of two members. It exits with 1 where the gradient differs from the plain one's by
more than 2e-4 of itself.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mibench import Recipe
from mibench.diffusion.losses import noised, weighted_error
from mibench.diffusion.model import network_of
from mibench.diffusion.per_member import clipped_sum
from mibench.diffusion.process import Kernel
from mibench.diffusion.training import TIMES, time_table
from mibench_datasets import Digits
from mibench_defenses import VP

BATCH, CLIP = 64, 1.0
CASES: dict[str, tuple[tuple[int, ...], Recipe]] = {
    "MLP, width 128": ((1, 8, 8), Recipe(**(Digits.recipe | {"width": 128}))),
    "MLP, width 256": ((1, 8, 8), Recipe(**Digits.recipe)),
    "unet-tiny": ((3, 32, 32), Recipe(network="unet-tiny")),
}
WAYS = ("plain", "chunk 16", "chunk 32", "chunk 64", "opacus")
Gradient = Callable[[float], dict[str, Tensor]]


def draws(case: str, count: int) -> tuple[nn.Module, Callable[..., Tensor], list[Tensor]]:
    """A denoiser, the losses of states, and K noised states of each member, (B, K, …)."""
    shape, recipe = CASES[case]
    model, generator = VP().build_model(shape, 1.0, recipe), torch.Generator().manual_seed(0)
    index = torch.randint(TIMES, (BATCH * count,), generator=generator)
    kernel = time_table(model.process, recipe, model.device).take(index)
    x = torch.randn(BATCH, *shape, generator=generator).double().repeat_interleave(count, 0)
    eps = torch.randn(BATCH * count, 1, *shape, generator=generator).double()
    parts = (kernel.mean_coef, kernel.factor, kernel.inverse, kernel.whitened_mean)
    inputs = [part.unflatten(0, (BATCH, count)) for part in (noised(x, kernel, eps), eps[:, -1], *parts)]
    denoiser = network_of(model).train()
    return denoiser, lambda u, target, *kernel: weighted_error(denoiser, u, Kernel(*kernel), target), inputs


def plain(module: nn.Module, loss: Callable[..., Tensor], inputs: list[Tensor]) -> Gradient:
    """The gradient of the batch, clipped as a whole."""

    def gradient(clip: float) -> dict[str, Tensor]:
        module.zero_grad()
        loss(*(x.flatten(0, 1) for x in inputs)).mean().backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip, foreach=True)
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    return gradient


def in_chunks(module: nn.Module, loss: Callable[..., Tensor], inputs: list[Tensor], chunk: int) -> Gradient:
    """The sum of clipped gradients over the batch's size."""
    return lambda clip: {name: g / BATCH for name, g in clipped_sum(loss, module, inputs, clip, chunk)[0].items()}


def hook(module: nn.Module) -> Any:
    """The module with opacus' hooks."""
    from opacus import GradSampleModule

    return GradSampleModule(module, loss_reduction="mean")


def by_hooks(hooked: Any, inputs: list[Tensor]) -> Gradient:
    """The same by opacus' hooks, the K states of a member as rows of their own until the gradients are there."""
    module = hooked._module

    def gradient(clip: float) -> dict[str, Tensor]:
        hooked.zero_grad(set_to_none=True)
        u, target, *kernel = (x.flatten(0, 1) for x in inputs)
        error = (hooked(u, Kernel(*kernel)) - target).flatten(1).square().mean(1)
        (error / module.c_out(Kernel(*kernel)).square()).mean().backward()
        shape = (len(inputs[0]), -1)
        each = {name: p.grad_sample.unflatten(0, shape).mean(1) for name, p in module.named_parameters()}
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()]).norm(dim=0)
        factor = (clip / norms).clamp(max=1.0) / len(inputs[0])
        return {name: torch.tensordot(factor, g, 1) for name, g in each.items()}

    return gradient


def measured(case: str, count: int, way: str) -> str:
    """Milliseconds, MiB and the relative difference from the plain gradient without a clip."""
    torch.set_num_threads(1)
    module, loss, inputs = draws(case, count)
    size = int(way.removeprefix("chunk ")) if way.startswith("chunk") else 0
    expected = {name: g.clone() for name, g in plain(module, loss, inputs)(math.inf).items()} if size else {}
    module.zero_grad(set_to_none=True)
    few = [x[:2] for x in inputs]
    if way == "opacus":
        hooked = hook(module)
        warm, gradient = by_hooks(hooked, few), by_hooks(hooked, inputs)
    elif size:
        warm, gradient = in_chunks(module, loss, few, size), in_chunks(module, loss, inputs, size)
    else:
        warm, gradient = plain(module, loss, few), plain(module, loss, inputs)
    warm(CLIP)
    before, taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(4 if case == "unet-tiny" else 12):
        began = time.process_time()
        gradient(CLIP)
        taken.append((time.process_time() - began) * 1e3)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = gradient(math.inf) if size else {}
    apart = sum(float((found[name] - g).square().sum()) for name, g in expected.items())
    scale = sum(float(g.square().sum()) for g in expected.values())
    return f"{statistics.median(taken[1:])} {memory} {math.sqrt(apart / scale) if size else 0.0}"


def main() -> bool:
    """Print a row per network and K; whether all gradients are those of the plain step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3, metavar=("CASE", "K", "WAY"), help="measure this alone, in this process")
    if one := parser.parse_args().one:
        print(measured(one[0], int(one[1]), one[2]))
        return True
    print(f"| network | K | {' | '.join(WAYS)} |\n|{'---|' * (len(WAYS) + 2)}")
    worst = 0.0
    for case in CASES:
        for count in (1, 4):
            cells = []
            for way in WAYS:
                command = [sys.executable, __file__, "--one", case, str(count), way]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    cells.append("fails: " + done.stderr.strip().splitlines()[-1][:80])
                    continue
                ms, memory, apart = map(float, done.stdout.split())
                cells.append(f"{ms:.0f} ms, {memory:.0f} MiB")
                worst = max(worst, apart)
            print(f"| {case} | {count} | {' | '.join(cells)} |", flush=True)
    print(f"\nlargest relative difference from the plain gradient: {worst:.1e}")
    return worst <= 2e-4


if __name__ == "__main__":
    raise SystemExit(not main())
