"""What shadow models add to an attack, as a Markdown table.

Run ``.venv/bin/python benchmarks/lira.py`` (three minutes on one core). Digits, VP, a pool of 400 samples; 16 models, each
trained on a random half, all together. Each is the target once and the others are its shadow models; scores are pooled
over the targets, 16 × 200 members and 16 × 200 non-members. Loss, RMIA and LiRA have the same 16 noise draws at each
time. The auxiliary samples that RMIA and GSA need are 600 others. LiRA's spreads come from a tenth of the pool on either
side, whose labels play no part.
"""

from __future__ import annotations

import time

import torch

from mibench import IMAGE, Attack, Context, Recipe
from mibench.context import Shadow
from mibench.data import split
from mibench.diffusion.model import EvaluationCache
from mibench.diffusion.stacked import measure_speed, train_stacked
from mibench.metrics.auroc import auroc
from mibench.metrics.thresholds import tpr_at_fpr
from mibench.seeds import generator
from mibench_attacks.gsa import GSA
from mibench_attacks.lira import LiRA
from mibench_attacks.loss import Loss
from mibench_attacks.rmia import RMIA
from mibench_datasets import Digits
from mibench_defenses import VP

MODELS, POOL = 16, 400
TIMES = (0.02, 0.05, 0.1, 0.2)
RECIPE = Recipe(steps=2000, batch=64, width=128, depth=3)
ATTACKS: dict[str, Attack] = {
    "loss": Loss(draws=16, times=TIMES),
    "RMIA, 4 references": RMIA(references=4, times=TIMES),
    "RMIA, 15 references": RMIA(references=15, times=TIMES),
    "LiRA offline": LiRA(mode="offline", shadows=15, times=TIMES),
    "LiRA online": LiRA(shadows=15, times=TIMES),
    "LiRA online, a variance per sample": LiRA(shadows=15, variance="sample", times=TIMES),
    "GSA, 5 shadow models": GSA(count=100),
}


def trained() -> tuple[list[Shadow], torch.Tensor, torch.Tensor]:
    """The models with their halves, the pool, and the auxiliary samples."""
    defense = VP()
    data = split(Digits(members=POOL // 2, nonmembers=POOL // 2, reference=600), 0)
    pool = torch.cat([data.members, data.nonmembers])
    halves = [pool[torch.randperm(POOL, generator=generator(k, "half"))[: POOL // 2]] for k in range(MODELS)]
    models = [
        defense.build_model(data.shape, half.double().square().mean().item(), RECIPE, seed=k)
        for k, half in enumerate(halves)
    ]
    speed = measure_speed(defense, models, halves, RECIPE, range(MODELS))
    began = time.monotonic()
    facts = train_stacked(defense, models, halves, RECIPE, range(MODELS))
    losses = torch.tensor([fact["loss"] for fact in facts])
    print(
        f"{RECIPE.steps} steps, batch {RECIPE.batch}, width {RECIPE.width}, depth {RECIPE.depth}: "
        f"{facts[0]['epochs_per_member']:.0f} epochs per member, final loss {losses.mean():.3f}; "
        f"{MODELS} models in {time.monotonic() - began:.0f} s, {speed.stacked:.2f} ms per step and model "
        f"({speed.single:.2f} one by one)\n",
        flush=True,
    )
    for model in models:
        model.cache = EvaluationCache()
    return [Shadow(*pair) for pair in zip(models, halves, strict=True)], pool, data.reference


@torch.no_grad()
def main() -> bool:
    """Print a row per attack and setting; whether online LiRA's TPR at 1 % is twice the loss's at each time."""
    torch.set_num_threads(1)
    with torch.enable_grad():
        shadows, pool, auxiliary = trained()
    held = torch.stack([shadow.holds(pool) for shadow in shadows])
    x = pool.double()
    print("| attack | setting | AUROC | TPR at 10 % FPR | at 1 % |")
    print("|---|---|---|---|---|")
    strict: dict[tuple[str, str], float] = {}
    for label, attack in ATTACKS.items():
        pooled: dict[str, list[torch.Tensor]] = {}
        for k, target in enumerate(shadows):
            others = shadows[:k] + shadows[k + 1 :]
            context = Context(
                0, modality=IMAGE, auxiliary=auxiliary, shadows=lambda count, kind, others=others: others[:count]
            )
            attack.fit(target.model, x[held[k]][: POOL // 10], x[~held[k]][: POOL // 10], context)
            for setting, values in attack.score(target.model, x, context).items():
                pooled.setdefault(setting, []).append(values)
        for setting, rows in pooled.items():
            scores = torch.stack(rows)
            sides = scores[held].numpy(), scores[~held].numpy()
            area, ten, one = auroc(*sides), tpr_at_fpr(*sides, 0.1), tpr_at_fpr(*sides, 0.01)
            strict[label, setting] = one or 0.0
            print(f"| {label} | {setting} | {area:.3f} | {ten:.3f} | {one:.3f} |", flush=True)
    return all(strict["LiRA online", s] >= 2 * rate for (label, s), rate in strict.items() if label == "loss")


if __name__ == "__main__":
    raise SystemExit(not main())
