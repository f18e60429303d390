"""How far 50 evaluations of the default sampler are from the end of the road, on the exact score, as a Markdown table.

Run ``.venv/bin/python benchmarks/sampler_accuracy.py`` (5 minutes on one core). Per defense: the Fréchet distance to the
reference set of 1 000 samples from 50 evaluations, against 1 000 evaluations from the same seed; on the swiss roll
also against 1 000 Euler–Maruyama steps, means over six seeds (of split and of samples). It exits with 1 where a distance differs
by more than 10 %, or 15 % from Euler–Maruyama.
"""

from __future__ import annotations

import torch

from mibench import Model
from mibench.components import Dataset
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.sampling import sample
from mibench.kinds import Method
from mibench.metrics.frechet import frechet
from mibench.seeds import generator
from mibench_datasets import Digits, SwissRoll
from mibench_defenses import CLD, HOLD, VE, VP

COUNT, SEEDS = 1000, 6
DEFENSES = {"vp": VP(), "ve": VE(), "cld": CLD(), **{f"hold{n}": HOLD(order=n) for n in (1, 2, 3, 4)}}


def main() -> bool:
    """Print a row per defense; whether all are within the limits."""
    torch.set_num_threads(1)
    print("| defense | digits, 1 000 | 50 | | swiss roll, 1 000 | 50 | | Euler–Maruyama | 50, six seeds | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    fine = True
    for name, defense in DEFENSES.items():

        def distance(dataset: Dataset, evaluations: int, method: Method = "multistep", seed: int = 0) -> float:
            data = split(dataset, seed)
            model = Model(defense.process(), ExactDenoiser(data.members), data.shape)  # noqa: B023
            samples = sample(model, COUNT, generator(seed, "samples"), evaluations, method).float()
            space = dataset.modality.space
            return frechet(space(samples), space(data.reference))

        cells = []
        for dataset in (Digits(), SwissRoll()):
            end, short = distance(dataset, 1000), distance(dataset, 50)
            cells += [f"{end:.4f}", f"{short:.4f}", f"{short / end - 1:+.1%}"]
            fine &= abs(short / end - 1) <= 0.1
        seeds = range(SEEDS)
        end = sum(distance(SwissRoll(), 1000, "euler-maruyama", seed) for seed in seeds) / SEEDS
        short = sum(distance(SwissRoll(), 50, seed=seed) for seed in seeds) / SEEDS
        cells += [f"{end:.4f}", f"{short:.4f}", f"{short / end - 1:+.1%}"]
        fine &= abs(short / end - 1) <= 0.15
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return fine


if __name__ == "__main__":
    raise SystemExit(not main())
