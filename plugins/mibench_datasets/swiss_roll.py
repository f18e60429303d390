"""The swiss roll of the HOLD paper."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import POINTS, Dataset


class SwissRoll(Dataset):
    """Swiss roll in the plane, drawn afresh for each seed, of about unit scale."""

    name = "swiss-roll"
    modality = POINTS
    recipe = {"steps": 3000, "batch": 128, "time_power": 2.0, "fourier": 64}

    nonmembers: int = Field(1250, ge=10, le=1_000_000, description="samples it never sees")
    reference: int = Field(2000, ge=10, le=1_000_000, description="further samples, which utility is measured against")
    noise: float = Field(0.5, ge=0, le=10, description="standard deviation of the noise, in units of 1/7 of the data's")

    def pool(self, generator: torch.Generator) -> Tensor:
        """(members + nonmembers + reference, 2)."""
        from sklearn.datasets import make_swiss_roll

        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        points, _ = make_swiss_roll(
            self.members + self.nonmembers + self.reference, noise=self.noise, random_state=seed
        )
        return torch.from_numpy(points[:, [0, 2]]).float() / 7
