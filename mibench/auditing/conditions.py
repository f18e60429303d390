"""What a conditional model is told of each file: its class or its caption."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Conditions", "Kind"]

Kind = Literal["label", "caption"]


@dataclass(frozen=True)
class Conditions:
    """The class or caption of each file.

    Attributes:
        kind: which of the two.
        of: the number of the class, or the caption, of each file by its digest.
        encode: from captions of B files to what the network is given, (B, *item).
    """

    kind: Kind
    of: dict[str, int | str]
    encode: Callable[[Sequence[str]], Tensor] | None = None

    def given(self, digests: Sequence[str]) -> Tensor:
        """What the network is given of files with these digests, (B, *item) float32; of classes (B,)."""
        known = [self.of[one] for one in digests]
        if self.encode is None:
            return torch.tensor(known, dtype=torch.float32)
        return self.encode([str(one) for one in known]).float()

    def spec(self, digests: Sequence[str]) -> dict[str, str]:
        """The digest of what is said of files with these digests, for keys."""
        return {f"{self.kind}s": hashlib.sha256(repr([self.of[one] for one in digests]).encode()).hexdigest()}
