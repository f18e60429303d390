"""The Python interface: build components by name, run one cell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.components import Attack, Dataset
from mibench.defenses import Defense
from mibench.errors import MibenchError, UsageError
from mibench.names import build
from mibench.plugins import load

if TYPE_CHECKING:
    from mibench.results.record import Record

__all__ = ["attack", "dataset", "defense", "run"]


def dataset(name: str) -> Dataset:
    """The dataset that a name such as "digits:members=200" stands for; UsageError for a mistake."""
    component = build(load(), "dataset", name)
    assert isinstance(component, Dataset)
    return component


def defense(name: str) -> Defense:
    """The defense that a name such as "hold3" stands for; UsageError for a mistake."""
    component = build(load(), "defense", name)
    assert isinstance(component, Defense)
    return component


def attack(name: str) -> Attack:
    """The attack that a name such as "pia:p=2" stands for; UsageError for a mistake."""
    component = build(load(), "attack", name)
    assert isinstance(component, Attack)
    return component


def run(
    defense: str,
    attack: str,
    dataset: str = "digits",
    seed: int = 0,
    model: str = "trained",
    recipe: str = "",
    plugins: tuple[str, ...] = (),
    store: str | Path | None = None,
) -> Record:
    """Run one cell as ``mibench run`` does, in processes of its own, and return its record.

    Args:
        defense, attack, dataset: names, as on the command line.
        seed: of split, training and noise.
        model: "trained", "exact" or "fresh".
        recipe: such as "steps=2000,width=128".
        plugins: loose plugin files.
        store: where artifacts are kept.

    Raises:
        UsageError: for a wrong name or option.
        MibenchError: where the cell failed, with the reason.
    """
    from mibench.names import options, validated
    from mibench.results.record import read_record
    from mibench.results.store import Store, default_root
    from mibench.suite.plan import Plan
    from mibench.suite.suite import Suite, loose_records, plan_cells

    root = Path(store or default_root()).absolute()
    given = options(recipe, "recipe") if recipe else {}
    fields = {"datasets": [dataset], "defenses": [defense], "attacks": [attack], "seeds": [seed], "model": model}
    fields["controls"] = False
    suite = validated(Suite, fields | {"recipe": {dataset.partition(":")[0]: given} if given else {}}, "run")
    plan = Plan(plan_cells(load(plugins), suite), loose_records(root, suite), Store(root))
    command = [sys.executable, "-m", "mibench", "run", "--dataset", dataset, "--defense", defense, "--attack", attack]
    command += ["--seed", str(seed), "--model", model, "--store", str(root)]
    command += ["--recipe", recipe] if recipe else []
    for file in plugins:
        command += ["--plugin", file]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("mibench:", "FAILED"))]
        error = UsageError if done.returncode == 2 else MibenchError
        raise error(lines[0] if lines else done.stderr.strip()[-300:])
    return read_record(plan.path(plan.cells[-1]))
