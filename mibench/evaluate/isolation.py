"""The global state of a process, put back after code of a plugin has run."""

from __future__ import annotations

import operator
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

from mibench.seeds import generator

__all__ = ["isolated"]


@contextmanager
def isolated(seed: int, *purpose: str | int) -> Iterator[list[str]]:
    """Run a block with global random numbers of its own, and put global state back afterwards.

    Put back are torch's default dtype and device, grad mode, autocast, threads, determinism, denormals, precision of matrix
    products, TF32 and global module hooks; functions of torch and numpy that were replaced; numpy's error handling, the
    working folder, the environment, the standard streams, signal handlers, and the states of the global generators.

    Args:
        seed, purpose: they choose the block's random numbers, see ``mibench.seeds.generator``.

    Yields:
        A list, which holds the names of replaced functions, such as "torch.randn", after the block.
    """
    own = generator(seed, "global", *purpose).initial_seed()
    state, numbers = random.getstate(), np.random.get_state()
    before = [(write, read()) for read, write in _SWITCHES]
    functions = [dict(vars(namespace)) for namespace in _NAMESPACES]
    replaced: list[str] = []
    with torch.random.fork_rng(devices=_device()):
        torch.manual_seed(own)
        np.random.seed(own % 2**32)
        random.seed(own)
        try:
            yield replaced
        finally:
            for namespace, known in zip(_NAMESPACES, functions, strict=True):
                replaced += _put_functions_back(namespace, known)
            for write, value in before:
                write(value)
            random.setstate(state)
            np.random.set_state(numbers)


_NAMESPACES: tuple[Any, ...] = (
    *(torch, torch.nn, torch.nn.functional, torch.nn.init, torch.linalg, torch.fft, torch.special, torch.autograd),
    *(torch.random, torch.Tensor, torch.nn.Module, np, np.random, np.linalg, np.fft, random),
)
"""Modules and classes whose functions are put back."""


def _put_functions_back(namespace: Any, known: dict[str, Any]) -> list[str]:
    """Put back each function and class of a namespace that is no longer the known one; their names."""
    now = vars(namespace)
    if len(now) == len(known) and all(map(operator.is_, now.values(), known.values())):  # takes microseconds
        return []
    replaced = [
        name
        for name, value in known.items()
        if callable(value) and (current := now.get(name)) is not value and not _wrapped_by_torch(current, value)
    ]
    for name in replaced:
        setattr(namespace, name, known[name])
    if isinstance(namespace, type):  # a new attribute hides the method of a base class
        hiding = [
            name for name in now if name not in known and any(hasattr(base, name) for base in namespace.__bases__)
        ]
        for name in hiding:
            delattr(namespace, name)
        replaced += hiding
    where = f"{namespace.__module__}.{namespace.__name__}" if isinstance(namespace, type) else namespace.__name__
    return [f"{where}.{name}" for name in replaced]


def _wrapped_by_torch(current: Any, value: Any) -> bool:
    """Whether torch itself has wrapped its function, as torch.compile does with torch.manual_seed when it is first used."""
    file = getattr(getattr(current, "__code__", None), "co_filename", "")
    return getattr(current, "__wrapped__", None) is value and file.startswith(os.path.dirname(torch.__file__))


def _folder() -> str | None:
    with suppress(OSError):
        return os.getcwd()
    return None


def _enter(folder: str | None) -> None:
    if folder is not None and _folder() != folder:
        os.chdir(folder)


def _set_environment(before: dict[str, str]) -> None:
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


def _handlers() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(before: dict[int, object]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)  # type: ignore[arg-type]
    signal.alarm(0)


def _hooks() -> dict[str, dict[int, object]]:
    """The global hooks of torch modules; torch has no function that lists them."""
    known = vars(torch.nn.modules.module)
    return {name: dict(known[name]) for name in known if name.startswith("_global_") and isinstance(known[name], dict)}


def _set_hooks(before: dict[str, dict[int, object]]) -> None:
    for name, hooks in before.items():
        known = getattr(torch.nn.modules.module, name)
        if dict(known) != hooks:
            known.clear()
            known.update(hooks)


def _flushes_denormals() -> bool:
    """Torch has no function that says so."""
    return float(torch.tensor(5e-324, dtype=torch.float64) * 1) == 0


def _device() -> list[int]:
    """The GPU of this process. One that was not used yet stays so: a look at its generator takes memory on it."""
    return [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]


def _precisions() -> list[str]:
    """The precision of float32 products, by operator: torch's flags for all at once cannot be read where operators differ."""
    return [products.fp32_precision for products in _PRODUCTS]


def _set_precisions(before: list[str]) -> None:
    if _precisions() != before:
        torch.set_float32_matmul_precision("high" if before[0] == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = before[1] == "tf32"
        for products, value in zip(_PRODUCTS, before, strict=True):
            products.fp32_precision = value


_BACKENDS: Any = torch.backends
_PRODUCTS = [
    *(_BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn),
    *(_BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv, _BACKENDS.mkldnn.rnn),
]


def _set_streams(before: tuple[object, object]) -> None:
    sys.stdout, sys.stderr = before  # type: ignore[assignment]


_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, lambda device: torch.set_default_device(None if device.type == "cpu" else device)),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    (lambda: torch.is_autocast_enabled("cuda"), lambda on: torch.set_autocast_enabled("cuda", on)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (_hooks, _set_hooks),
    (_flushes_denormals, torch.set_flush_denormal),
    (_precisions, _set_precisions),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (_folder, _enter),
    (lambda: dict(os.environ), _set_environment),
    (_handlers, _set_handlers),
    (lambda: (sys.stdout, sys.stderr), _set_streams),
)
"""How to read and to set each piece of global state, bound when this module is imported, before a plugin replaces them."""
