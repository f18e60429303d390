"""A loose plugin of attacks that do what no attack should, and of some that should not notice."""

import ctypes
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mibench import Attack, hookimpl

NOTES = Path(os.environ.get("MISBEHAVING_NOTES", os.devnull))
MORE = {}


def note(text):
    with open(NOTES, "a") as file:
        file.write(f"{text}\n")


def distance(x):
    return -x.flatten(1).norm(dim=1)


class Base(Attack):
    published = "x"

    def fit(self, model, members, nonmembers, ctx):
        self.misbehave()

    def score(self, model, x, ctx):
        self.misbehave()
        return {"x": distance(x)}


def attack(function):
    """An attack that calls a function whenever it has its turn."""
    name = function.__name__.replace("_", "-")
    body = {"__doc__": name, "name": name, "misbehave": lambda self: function()}
    MORE[name] = type(name, (Base,), body)
    return function


@attack
def says_goodbye():
    sys.exit(0)


@attack
def exits_with_one():
    os._exit(1)


@attack
def segfaults():
    ctypes.string_at(0)


@attack
def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


@attack
def hangs():
    re.match("(a+)+$", 40 * "a" + "b")  # never lets go of the interpreter


@attack
def leaves_a_child():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(f"child {os.getpid()}")
            time.sleep(1000)
        os._exit(0)


@attack
def leaves_a_flood():
    if os.fork() == 0:
        while True:
            os.write(1, b"x" * (1 << 18))


@attack
def forks_and_goes_on():
    os.fork()  # two processes now score on, and both report


@attack
def floods():
    print("the beginning of the flood")
    for _ in range(100):
        os.write(1, b"x" * (1 << 18))
    print("the end of the flood")


@attack
def asks_for_too_much():
    torch.empty(10**15)


@attack
def asks_for_too_much_of_the_gpu():
    torch.empty(10**13, device="cuda")


@attack
def changes_the_world():
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    torch.set_grad_enabled(True)
    torch.set_num_threads(2)
    torch.set_autocast_enabled("cpu", True)
    torch.set_flush_denormal(True)
    torch.nn.modules.module.register_module_forward_hook(lambda module, given, answer: answer + 1)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    np.seterr(all="raise")
    os.chdir("/")
    os.environ.clear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout = None


@attack
def notices():
    """Fails if anything is not as it was for the first attack."""
    assert torch.get_default_dtype() == torch.float32 and torch.empty(1).device.type == "cpu"
    assert not torch.is_grad_enabled() and torch.get_num_threads() == 1
    assert not torch.is_autocast_enabled("cpu")
    assert torch.tensor(5e-324, dtype=torch.float64) * 1 > 0 and torch.get_float32_matmul_precision() == "highest"
    assert not torch.nn.modules.module._global_forward_hooks
    assert np.geterr()["divide"] == "warn"
    assert os.getcwd() != "/" and "MISBEHAVING_NOTES" in os.environ
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    print("noticed nothing")


class LeavesAHook(Base):
    """Changes the model for those who come after, beyond what weights are."""

    name = "leaves-a-hook"
    access = "weights"

    def misbehave(self):
        pass

    def fit(self, model, members, nonmembers, ctx):
        model.denoiser.register_forward_hook(lambda module, given, answer: answer + 1)


class ChangesAShadow(Base):
    """Goes on with the training of a shadow model that others use as well."""

    name = "changes-a-shadow"
    access = "weights"

    def misbehave(self):
        pass

    def shadow_models(self):
        return 2, "online"

    def fit(self, model, members, nonmembers, ctx):
        first, _ = ctx.shadows(2, "online")
        for parameter in first.model.denoiser.parameters():
            parameter.data = 2 * parameter.data


class Draws(Attack):
    """Scores with global random numbers, which no neighbour can choose."""

    name = "draws"
    published = "x"

    def fit(self, model, members, nonmembers, ctx):
        self._direction = torch.randn(members[0].numel()).double() + np.random.randn() + random.random()

    def score(self, model, x, ctx):
        return {"x": x.flatten(1) @ self._direction}


class Stub(Attack):
    """Takes its time, and notes that it has begun."""

    name = "stub"
    published = "x"
    k: int = 1
    seconds: float = 0.0

    def fit(self, model, members, nonmembers, ctx):
        note(f"stub {self.k}")
        note(f"gpu {os.environ.get('CUDA_VISIBLE_DEVICES', -1)}")
        time.sleep(self.seconds)

    def score(self, model, x, ctx):
        return {"x": (self.k * x.flatten(1)).sin().sum(1)}


@hookimpl
def mibench_attacks():
    return [*MORE.values(), LeavesAHook, ChangesAShadow, Draws, Stub]
