"""The Python interface: build components by name, run one cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mibench.components import Attack, Dataset
from mibench.defenses import Defense
from mibench.errors import MibenchError
from mibench.names import build
from mibench.plugins import load

if TYPE_CHECKING:
    from mibench.jobs.engine import Device
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
    plugins: tuple[str | Path, ...] = (),
    store: str | Path | None = None,
    device: Device = "auto",
    workers: int = 1,
    time_limit: float | None = 86400.0,
) -> Record:
    """Run one cell, and the utility of its model, as ``mibench run`` does; return the record of the cell.

    Jobs run in processes of their own, which end with this one. Nothing is printed. It may be called from a script without
    ``if __name__ == "__main__"``, from an interactive session, and from several threads.

    Args:
        defense, attack, dataset: names, as on the command line.
        seed: of split, training and noise.
        model: "trained", "exact" or "fresh".
        recipe: such as "steps=2000,width=128".
        plugins: loose plugin files.
        store: where artifacts are kept.
        device: "cpu", "cuda", or "auto" for CUDA where it is available.
        workers: jobs at a time, one torch thread each.
        time_limit: seconds for the cell and for each training; None for no limit.

    Raises:
        UsageError: a name, an option or a folder is wrong.
        MibenchError: the cell failed, with the reason.
    """
    from mibench.jobs.local import Local
    from mibench.jobs.options import JobOptions
    from mibench.jobs.run import run_suite
    from mibench.results.record import read_record
    from mibench.results.store import Store, default_root
    from mibench.suite.loose import loose_suite
    from mibench.suite.suite import loose_records

    artifacts = Store(Path(store or default_root()).absolute())
    suite = loose_suite([dataset], [defense], [attack], [seed], model, recipe)
    options = JobOptions(device, tuple(str(Path(file).absolute()) for file in plugins), time_limit)
    outcome = run_suite(suite, loose_records(artifacts.root, suite), artifacts, Local(workers), options)
    (cell,) = (cell for cell in outcome.plan.cells if cell.attack)
    if cell in outcome.failures:
        raise MibenchError(f"{cell.title}: {outcome.failures[cell]}")
    return read_record(outcome.plan.path(cell))
