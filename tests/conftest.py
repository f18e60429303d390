"""What the tests share: one torch thread, and a store of their own."""

import os

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
