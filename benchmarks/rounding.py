"""Whether scores rest on rounding: all attacks on the exact and fresh models of quick, before and after a change of last bits.

Run ``.venv/bin/python benchmarks/rounding.py``; ``--datasets``, ``--defenses`` and ``--attacks`` choose a part. Every number
of every sample, of the calibration too, becomes one of the two nearest numbers in double precision. A row says, over all
defenses: how many settings there are, how many the harness leaves out, by how much the AUROC changes at most at those that it
keeps and at those that it leaves out, and past what share of the other side samples move there on average. It exits with 1
where the AUROC of a kept setting changes by more than .01.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mibench.errors import NotApplicable
from mibench.evaluate import scoring
from mibench.evaluate.attack_run import AttackRun, prepare_attack
from mibench.evaluate.isolation import isolated
from mibench.evaluate.report import Report
from mibench.evaluate.shadows import Shadows
from mibench.evaluate.target import Target
from mibench.evaluate.trainings import make_models
from mibench.leaderboard.text import columns
from mibench.metrics.auroc import auroc
from mibench.names import build
from mibench.plugins import load
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.suite.cells import Cell
from mibench.suite.suite import load_suite, plan_cells

TOLERANCE = 0.01
ATTACKS = (
    "blind loss secmi pia likelihood pian sima pfami rediffuse nn loss-vector quantile lira rmia secmi+filter adaptive"
)
SILENT = Report(*[lambda *values: None] * 5)

Found = tuple[bool, float, float]
"""Of one setting: whether it is kept, the change of its AUROC, and how far samples move past those of the other side."""


def measured(target: Target, cell: Cell) -> dict[str, Found]:
    """What the change does to each setting of a cell's attack."""
    members = len(target.data.members)
    samples = torch.cat([target.data.members, target.data.nonmembers]).double()
    numbers = generator(cell.seed, "benchmark")

    def moved(x: Tensor) -> Tensor:
        return scoring.with_other_last_bits(x, numbers)

    run, order = scored(target, cell, samples, lambda x: x)
    before, again = run.result(order), scoring.scored_again(order)
    try:
        unstable = run.unstable(before, members, again, samples[again], moved(samples[again]))
    except NotApplicable:
        unstable = dict.fromkeys(before, 1.0)
    after = scored(target, cell, moved(samples), moved)[0].result(order)
    every, found = torch.arange(len(samples)), {}
    for setting, one in before.items():
        areas = [auroc(values[:members].numpy(), values[members:].numpy()) for values in (one, after[setting])]
        shift = scoring.past_others(one, every, after[setting], members)
        found[setting] = setting not in unstable, abs(areas[0] - areas[1]), shift
    return found


def scored(target: Target, cell: Cell, samples: Tensor, change: Callable[[Tensor], Tensor]) -> tuple[AttackRun, Tensor]:
    """A run that has learnt from changed calibration samples and has scored all samples, and their order."""
    run = prepare_attack(0, cell, target, Shadows(target))
    with isolated(cell.seed, "learn"):
        run.learn(*map(change, target.calibration()))
    order = torch.randperm(len(samples), generator=generator(cell.seed, "order of scoring"))
    for batch in torch.split(order, scoring.BATCH):
        with isolated(cell.seed, "score"):
            run.score(samples[batch], batch)
        target.cache.clear()
    return run, order


def main() -> bool:
    """Print the table; whether all kept settings stay."""
    parser = argparse.ArgumentParser()
    suite = load_suite("quick").suite
    for name, default in (("datasets", suite.datasets), ("defenses", suite.defenses), ("attacks", ATTACKS.split())):
        parser.add_argument(f"--{name}", nargs="+", default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    part = {"datasets": args.datasets, "defenses": args.defenses, "attacks": ["loss"], "seeds": [0]}
    cells = [cell for cell in plan_cells(load(), suite.model_copy(update=part)) if cell.model_kind != "trained"]
    rows: dict[tuple[str, ...], list[Found]] = defaultdict(list)
    for model in {cell.model_key: cell for cell in cells}.values():
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            make_models([model], store, "cpu", SILENT)
            target = Target(model, store, "cpu")
            for name in args.attacks:
                attack = build(load(), "attack", name)
                row = name, model.labels["dataset"], model.model_kind
                try:
                    found = measured(target, replace(model, attack=attack))  # type: ignore[arg-type]
                except NotApplicable:
                    continue
                rows[row] += found.values()
    figures = [f"{part}: {what}" for part in ("kept", "left out") for what in ("AUROC", "past others")]
    print(columns([("attack", "dataset", "model", "settings", "left out", *figures), *table(rows)]))
    return all(change <= TOLERANCE for found in rows.values() for kept, change, _ in found if kept)


def table(rows: dict[tuple[str, ...], list[Found]]) -> list[tuple[str, ...]]:
    """A row per attack, dataset and kind of model: counts; the largest change of the AUROC and the largest shift."""
    lines = []
    for name, found in sorted(rows.items()):
        kept, left = ([one for one in found if one[0] is wanted] for wanted in (True, False))
        largest = [f"{max((one[k] for one in group), default=0):.4f}" for group in (kept, left) for k in (1, 2)]
        lines.append((*name, str(len(found)), str(len(left)), *largest))
    return lines


if __name__ == "__main__":
    raise SystemExit(not main())
