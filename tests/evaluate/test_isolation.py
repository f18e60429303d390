"""Global state of the process after code of a plugin: as before, and functions of torch that were replaced are named."""

import os
import random
import signal
import sys

import numpy as np
import pytest
import torch

from mibench.evaluate.isolation import isolated


def test_random_numbers_depend_on_the_seed_and_the_purpose_alone():
    def drawn(*purpose):
        with isolated(*purpose):
            return torch.rand(1).item(), float(np.random.rand()), random.random()

    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = drawn(0, "a", 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    torch.manual_seed(2)
    assert drawn(0, "a", 1) == first and not {*drawn(0, "a", 2), *drawn(1, "a", 1)} & {*first}


def careless():
    torch.set_default_dtype(torch.float16)
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    torch.nn.modules.module.register_module_forward_hook(lambda module, given, answer: answer + 1)
    np.seterr(all="raise")
    os.chdir("/")
    os.environ["MIBENCH_CARELESS"] = "1"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout = None
    raise ValueError


def test_switches_are_put_back_also_after_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler, stdout = signal.getsignal(signal.SIGTERM), sys.stdout
    with pytest.raises(ValueError), isolated(0):
        careless()
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled() and torch.get_num_threads() == 1
    assert torch.nn.Identity()(torch.zeros(1)) == 0 and np.geterr()["divide"] == "warn"
    assert os.getcwd() == str(tmp_path) and "MIBENCH_CARELESS" not in os.environ
    assert signal.getsignal(signal.SIGTERM) is handler and sys.stdout is stdout


@pytest.mark.parametrize(
    ("namespace", "name", "title"),
    [
        (torch, "randn", "torch.randn"),
        (torch.nn.functional, "relu", "torch.nn.functional.relu"),
        (torch.linalg, "eigh", "torch.linalg.eigh"),
        (torch.Tensor, "backward", "torch.Tensor.backward"),
        (torch.Tensor, "add", "torch.Tensor.add"),
        (torch.nn, "Linear", "torch.nn.Linear"),
        (np.random, "randn", "numpy.random.randn"),
    ],
)
@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_a_function_is_put_back_and_named(namespace, name, title, how):
    original = getattr(namespace, name)
    with isolated(0) as replaced:
        assert not replaced
        if how == "replaced" or name == "add":  # torch.Tensor inherits it
            setattr(namespace, name, abs)
        else:
            delattr(namespace, name)
    assert getattr(namespace, name) is original and replaced == [title]


def test_what_torch_replaces_itself_is_no_fault():
    """As it does when torch.compile is first used; and modules that a plugin imports may add names."""
    with isolated(0) as replaced:
        import torch._dynamo

        torch.mine = abs
    assert not replaced and torch.mine is abs
    del torch.mine


@pytest.mark.parametrize("how", ["one operator", "all at once"])
def test_the_precision_of_products_is_put_back_however_it_was_set(how):
    """Torch has two interfaces, and reading the older one raises an error after the newer one was used."""
    conv, matmul = torch.backends.cudnn.conv, torch.backends.mkldnn.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    for _ in range(2):
        with isolated(0):
            if how == "one operator":
                conv.fp32_precision = "ieee"
            else:
                torch.set_float32_matmul_precision("medium")
        assert (conv.fp32_precision, matmul.fp32_precision) == before
        assert torch.get_float32_matmul_precision() == "highest" and torch.backends.cudnn.allow_tf32


def test_a_gpu_that_was_not_used_is_not_touched(monkeypatch):
    def touched(*_):
        raise AssertionError("it was")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touched)
    with isolated(0):
        torch.rand(1)
