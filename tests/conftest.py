"""What the tests share: one torch thread, and a store of their own."""

import os
from types import SimpleNamespace

import pytest
import torch
from third_party import Package, forget

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MIBENCH_STORE", str(tmp_path / "store"))


@pytest.fixture
def cli(capsys):
    """Run the command line in this process: (exit code, standard output, standard error)."""
    from mibench.cli import main

    def call(*argv):
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture
def package(tmp_path, monkeypatch, cli):
    """A package of a third party, installed for this test alone, and a suite of its methods."""
    made = Package(tmp_path / "third-party", cli)
    monkeypatch.syspath_prepend(made.module.parent)
    monkeypatch.setenv("PYTHONPATH", str(made.module.parent), prepend=os.pathsep)  # for the workers
    yield made
    made.remove()
    forget()


@pytest.fixture(scope="session")
def _exact_suite(tmp_path_factory):
    from benches import SMALL, InProcess

    from mibench.plugins import load
    from mibench.results.store import Store
    from mibench.suite.plan import Plan
    from mibench.suite.suite import load_suite, plan_cells

    folder = tmp_path_factory.mktemp("exact")
    text = f'datasets = ["{SMALL}"]\ndefenses = ["vp"]\nattacks = ["pia", "loss"]\ncontrols = false\nmodel = "exact"\n'
    (folder / "suite.toml").write_text(text + "[utility]\nsamples = 100\nevaluations = 5\n")
    plan = Plan(plan_cells(load(), load_suite(str(folder)).suite), folder / "records", Store(folder / "store"))
    InProcess(plan, plan.cells, None, None, lambda event: None).run()
    paths = {cell.labels["attack"]: plan.path(cell) for cell in plan.cells}
    return SimpleNamespace(folder=folder, store=plan.store.root, pia=paths["pia"], utility=paths["utility"])


@pytest.fixture
def exact_suite(_exact_suite, monkeypatch):
    """A suite whose three cells of an exact model are done; its store is the default one. Tests must leave it as it is."""
    monkeypatch.setenv("MIBENCH_STORE", str(_exact_suite.store))
    return _exact_suite


@pytest.fixture
def in_process(monkeypatch):
    """Cells of one model are computed in this process, without an engine."""
    from benches import InProcess

    for module in ("run", "repeat"):
        monkeypatch.setattr(f"mibench.jobs.{module}.Scheduler", InProcess)
