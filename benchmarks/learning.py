"""Members of real data are really learnt, in minutes on one core: 64 against 64, and a control that cannot have learnt them.

Run ``.venv/bin/python benchmarks/learning.py CIFAR.zip DIGITS.zip`` with a folder or archive of images (CIFAR-10's) and one of
wavs (spoken digits); about 20 minutes. It exits with 1 where a member is not learnt, or the control leaves [.42, .58].
"""

from __future__ import annotations

import argparse
import time

import torch

from mibench import Recipe
from mibench.api import attack, dataset, defense
from mibench.context import Context
from mibench.data import Split, calibration_size, split
from mibench.diffusion.training import train
from mibench.results.attack_metrics import attack_metrics

ATTACKS = ("loss:draws=4", "pia")
JUDGED = 300
UNET = {"network": "unet-tiny", "batch": 32, "ema": 0.99, "log_snr": (0, 2)}
LEARN = Recipe(steps=1000, **UNET)
FEW = "members=64,nonmembers=64,reference=10"
SUFFICIENT = "parameterisation=sufficient"


def row(data: str, method: str, recipe: Recipe) -> tuple[float, ...]:
    """Print minutes of training and the calibrated AUROC of each attack; return the latter."""
    made, parts = defense(method), split(dataset(data), 0)
    parts = Split(parts.members, parts.nonmembers[:JUDGED], parts.reference)
    model = made.build_model(parts.shape, parts.data_variance, recipe)
    began = time.process_time()
    train(made, model, parts.members, recipe, 0)
    minutes = (time.process_time() - began) / 60
    areas = []
    for name in ATTACKS:
        judge, ctx = attack(name), Context(0, modality=dataset(data).modality)
        sides = {"members": parts.members[:JUDGED], "nonmembers": parts.nonmembers}
        with torch.no_grad():
            scores = {
                f"{side}/{setting}": values
                for side, x in sides.items()
                for setting, values in judge.score(model, x.double(), ctx).items()
            }
        cuts = {side: calibration_size(x) for side, x in sides.items()}
        areas.append(attack_metrics(scores, cuts, judge, made, "").calibrated.auroc.value or 0.0)
    kind, sizes = data.partition(":")[0], f"{len(parts.members)} v {len(parts.nonmembers)}"
    figures = " | ".join(f"{area:.3f}" for area in areas)
    print(f"| {kind}, {sizes} | {recipe.network} | {method} | {recipe.steps} | {minutes:.1f} | {figures} |", flush=True)
    return tuple(areas)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images")
    parser.add_argument("speech")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, speech = f"images:path={given.images}", f"speech:path={given.speech}"
    print("| data | network | defense | steps | minutes | loss | PIA |\n|---|---|---|---|---|---|---|")
    mlp = Recipe(width=512, steps=1500, log_snr=(1, 4))
    fine = all(x >= least for x, least in zip(row(f"{images},{FEW}", "vp", mlp), (0.85, 0.9), strict=True))
    for data, method, least in (
        (images, "vp", 0.8),
        (speech, "vp", 0.8),
        *((data, f"hold{n}:{SUFFICIENT}", 0.85) for data in (images, speech) for n in (2, 3)),
    ):
        fine &= row(f"{data},{FEW}", method, LEARN)[1] >= least
    for data, members, nonmembers in ((images, 2000, 300), (speech, 1200, 1200)):
        once = Recipe(steps=members // 32, **UNET)
        areas = row(f"{data},members={members},nonmembers={nonmembers},reference=10", "vp", once)
        fine &= all(0.42 <= area <= 0.58 for area in areas)
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
