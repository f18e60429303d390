"""Random numbers by purpose."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator"]


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; different purposes of one seed are independent."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
