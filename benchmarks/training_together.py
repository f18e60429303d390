"""What training K models together saves over one by one, as a Markdown table.

Run ``.venv/bin/python benchmarks/training_together.py`` (half a minute on one core). The digits recipe with depth 3, VP, one
thread; ms of processor time per step and model, the median of 30 steps after a warm-up of 5.
"""

from __future__ import annotations

import torch

from mibench import Recipe
from mibench.data import split
from mibench.diffusion.stacked import measure_speed
from mibench_datasets import Digits
from mibench_defenses import VP


def main() -> bool:
    """Print a row per width and number of models; whether sixteen of width 64 are twice as fast together."""
    torch.set_num_threads(1)
    defense, data = VP(), split(Digits(), 0)
    print("| width | models | one by one | together | faster by |")
    print("|---|---|---|---|---|")
    for width in (64, 256):
        recipe = Recipe(**(Digits.recipe | {"width": width, "depth": 3}))
        for count in (2, 4, 8, 16):
            models = [defense.build_model(data.shape, data.data_variance, recipe, seed=k) for k in range(count)]
            speed = measure_speed(defense, models, [data.members] * count, recipe, range(count), steps=30, warmup=5)
            ratio = speed.single / speed.stacked
            print(f"| {width} | {count} | {speed.single:.2f} | {speed.stacked:.2f} | {ratio:.2f} |", flush=True)
            if (width, count) == (64, 16):
                fine = ratio >= 2
    return fine


if __name__ == "__main__":
    raise SystemExit(not main())
