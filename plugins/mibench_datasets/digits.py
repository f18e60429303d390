"""Handwritten digits, embedded in scikit-learn."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import IMAGE, Dataset


class Digits(Dataset):
    """Handwritten digits, 8×8 grey levels in [−1, 1] (1797 samples)."""

    name = "digits"
    modality = IMAGE
    recipe = {"steps": 4500, "batch": 64, "depth": 5}

    reference: int = Field(1200, ge=10, le=1797, description="further samples, which utility is measured against")

    def pool(self, generator: torch.Generator) -> Tensor:
        """(1797, 1, 8, 8)."""
        from sklearn.datasets import load_digits

        return torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
