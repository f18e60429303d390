"""What the tests share: one torch thread, and a store of their own."""

import pytest
import torch

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
