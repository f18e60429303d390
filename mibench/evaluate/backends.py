"""Torch's flags in a worker, all set here."""

from __future__ import annotations

import os

import torch

from mibench.errors import UsageError
from mibench.kinds import Device

__all__ = ["choose_device", "set_backends"]


def choose_device(wanted: Device) -> str:
    """The device of a job, "cuda" or "cpu": CUDA where torch can use it, unless the CPU is wanted.

    Raises:
        UsageError: where CUDA is wanted and torch cannot use it.
    """
    if wanted == "cpu":
        return "cpu"
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use; take --device cpu or auto")
    return "cuda" if available else "cpu"


def set_backends(device: str, tf32: bool = False) -> None:
    """Use one thread on the CPU, since their number changes bits; on CUDA full float32 products and deterministic algorithms.

    Args:
        device: "cpu" or "cuda".
        tf32: whether products of float32 may be rounded to TF32, which is faster; published scores are without it.
    """
    torch.set_num_threads(1)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.use_deterministic_algorithms(True)  # an operation that has none raises an error that names it
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
