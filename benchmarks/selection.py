"""What hindsight adds where there is nothing to find: 100 repetitions of attacks on fresh data, 200 against 200.

Run ``.venv/bin/python benchmarks/selection.py`` (half a minute on one core). The exact model of 100 other digits has seen
neither side, so every AUROC is .5 in truth. It exits with 1 where the calibrated mean leaves .5 by more than .01.
"""

from __future__ import annotations

import statistics

import torch

from mibench import Model
from mibench.context import Context
from mibench.data import calibration_size, split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.results.attack_metrics import attack_metrics
from mibench_attacks.pia import PIA
from mibench_attacks.secmi import SecMI
from mibench_attacks.sima import SimA
from mibench_datasets import Digits
from mibench_defenses import VP

REPETITIONS = 100


@torch.no_grad()
def main() -> bool:
    """Print a row per attack; whether every calibrated mean is within .01 of .5."""
    torch.set_num_threads(1)
    defense, fine = VP(), True
    dataset = Digits(members=200, nonmembers=200, reference=100)
    attacks = [PIA(), SimA(), SecMI(steps=10)]
    found: dict[str, list[tuple[float, float]]] = {attack.name: [] for attack in attacks}
    for seed in range(REPETITIONS):
        data = split(dataset, seed)
        model = Model(defense.process(), ExactDenoiser(data.reference), data.shape)
        for attack in attacks:
            scores = {
                f"{name}/{setting}": values
                for name in ("members", "nonmembers")
                for setting, values in attack.score(model, getattr(data, name).double(), Context(seed)).items()
            }
            cuts = {"members": calibration_size(data.members), "nonmembers": calibration_size(data.nonmembers)}
            metrics = attack_metrics(scores, cuts, attack, defense, "")
            found[attack.name].append((metrics.calibrated.auroc.value or 0.0, metrics.oracle.auroc.value or 0.0))
    print("| attack | calibrated, mean of 100 | oracle, mean of 100 |\n|---|---|---|")
    for name, pairs in found.items():
        calibrated, oracle = (statistics.fmean(values) for values in zip(*pairs, strict=True))
        fine &= abs(calibrated - 0.5) <= 0.01
        print(f"| {name} | {calibrated:.4f} | {oracle:.4f} |")
    return fine


if __name__ == "__main__":
    raise SystemExit(not main())
