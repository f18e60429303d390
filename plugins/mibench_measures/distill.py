"""Distillation from two teachers that have each seen half of the members."""

from dataclasses import replace

import torch
from torch import Tensor

from mibench import Defense, Measure, Model, NoisedBatch


class Distill(Measure):
    """DistillMD: a student learns each member from the answers of a teacher that has not seen it."""

    name = "distill"
    paper = "arXiv 2410.16657"
    stage = "step"
    mixes = True
    adaptive = ("lira",)

    def teachers(self, inner: Defense, size: int) -> list[tuple[Defense, Tensor]]:
        """Two, on the members with even and with odd index, which a split has shuffled."""
        rows = torch.arange(size)
        return [(inner, rows[::2]), (inner, rows[1::2])]

    def losses(self, inner: Defense, model: Model, batch: NoisedBatch) -> Tensor:
        """‖ε_θ(u_t, t) − ε_k(u_t, t)‖², weighted as the defense's own loss, with k the teacher that was not given the member."""
        answers = torch.empty_like(batch.target)
        with torch.no_grad():
            for half, teacher in enumerate(reversed(batch.teachers)):
                (mine,) = torch.where(batch.rows % 2 == half)
                if len(mine):
                    answers[mine] = teacher.denoiser(batch.u[mine], batch.kernel.take(mine))
        return inner.losses(model, replace(batch, target=answers))
