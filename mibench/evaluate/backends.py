"""How torch computes in a worker: the one place that sets its flags."""

from __future__ import annotations

import os

import torch

__all__ = ["set_backends"]


def set_backends(device: str, tf32: bool = False) -> None:
    """One thread on the CPU, whose number changes bits; on CUDA full float32 products and algorithms that repeat their bits.

    Args:
        device: "cpu" or "cuda".
        tf32: whether products of float32 may be rounded to TF32, which is faster; scores are published without it.
    """
    torch.set_num_threads(1)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
