"""Global state of the process, which plugins change and their neighbours must not see."""

from __future__ import annotations

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
def isolated(seed: int, *purpose: str | int) -> Iterator[None]:
    """Global random numbers that are the same whoever went before; switches as they were, put back afterwards.

    What is put back: torch's default dtype and device, grad mode, autocast, threads, determinism, denormals, precision of matrix
    products, TF32 and hooks on all modules; numpy's treatment of errors; working folder, umask, environment, standard streams,
    and the handlers of signals.
    """
    own = generator(seed, "global", *purpose).initial_seed()
    state, numbers = random.getstate(), np.random.get_state()
    before = [(write, read()) for read, write in _SWITCHES]
    with torch.random.fork_rng():
        torch.manual_seed(own)
        np.random.seed(own % 2**32)
        random.seed(own)
        try:
            yield
        finally:
            for write, value in before:
                write(value)
            random.setstate(state)
            np.random.set_state(numbers)


def _folder() -> str | None:
    with suppress(OSError):
        return os.getcwd()
    return None


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _enter(folder: str | None) -> None:
    if folder is not None and _folder() != folder:
        os.chdir(folder)


def _set_environment(before: dict[str, str]) -> None:
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


def _handlers() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _handle(before: dict[int, object]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)  # type: ignore[arg-type]
    signal.alarm(0)


def _hooks() -> dict[str, dict[int, object]]:
    """What runs with every module of torch; it has a function to add to these, and none to list them."""
    known = vars(torch.nn.modules.module)
    return {name: dict(known[name]) for name in known if name.startswith("_global_") and isinstance(known[name], dict)}


def _set_hooks(before: dict[str, dict[int, object]]) -> None:
    for name, hooks in before.items():
        known = getattr(torch.nn.modules.module, name)
        if dict(known) != hooks:
            known.clear()
            known.update(hooks)


def _flushed() -> bool:
    """Whether the smallest numbers count as 0 here, which torch does not say itself."""
    return float(torch.tensor(5e-324, dtype=torch.float64) * 1) == 0


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(before: tuple[bool, bool]) -> None:
    if _tf32() != before:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


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
    (_flushed, torch.set_flush_denormal),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (_tf32, _set_tf32),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (_folder, _enter),
    (_mask, os.umask),
    (lambda: dict(os.environ), _set_environment),
    (_handlers, _handle),
    (lambda: (sys.stdout, sys.stderr), _set_streams),
)
