"""Deduplication of the members."""

import torch
from pydantic import Field
from torch import Tensor

from mibench import Defense, Measure

ROWS = 256  # of the matrix of distances that are in memory at a time


class Dedup(Measure):
    """Deduplication: of near-duplicates among the members only the first is trained on."""

    name = "dedup"
    paper = "arXiv 2202.06539, 2301.13188"
    stage = "data"
    mixes = True  # whether a member is trained on depends on the others
    adaptive = ("lira",)

    threshold: float = Field(
        0.1,
        ge=0,
        le=10,
        description="a member closer than this to an earlier one is left out; in median distances to the nearest neighbour",
    )

    def select(self, inner: Defense, members: Tensor) -> Tensor:
        """The members that are no copies of an earlier one, nor closer to one than the threshold."""
        chosen = inner.select(members)
        flat = members[chosen].flatten(1).double()
        first, typical = _distances(flat)
        return chosen[first > self.threshold * typical] if len(chosen) > 1 else chosen


def _distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each of (M, D) the distance to the nearest earlier one, (M,), exactly 0 for a copy, and the median distance between
    neighbours that are no copies, ().
    """
    _, group = torch.unique(x, dim=0, return_inverse=True)
    place, earlier, other = torch.arange(len(x), device=x.device), [], []
    for rows in torch.split(place, ROWS):
        copies = group[rows][:, None] == group
        distance = torch.cdist(x[rows], x).masked_fill(copies, 0)
        earlier.append(distance.masked_fill(place >= rows[:, None], torch.inf).amin(1))
        other.append(distance.masked_fill(copies, torch.inf).amin(1))
    found = torch.cat(other)
    return torch.cat(earlier), found[found.isfinite()].median() if found.isfinite().any() else found.new_zeros(())
