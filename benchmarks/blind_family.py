"""What the blind attacks see on two halves of CIFAR-10 of which one was processed: JPEG, blur or noise.

Run ``.venv/bin/python benchmarks/blind_family.py data/cifar10-jpeg-20k.zip`` (ten minutes on one core). In each of 20 seeds 500
members and 500 non-members are drawn from one pool and resized to 16 pixels, or kept at 32. The members are then processed, and
for ``files`` both halves are saved as JPEG. The images of this archive are JPEGs of quality 75, so that saving them at 32 pixels
with this quality changes next to nothing (.14 grey levels on average; 93 % of the values stay). It exits with 1 where on other
halves no attack of the family is significant in some seed, or where on undisturbed ones some attack is in more than one seed.
"""

from __future__ import annotations

import io
import statistics
import sys
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from mibench import Context, Model
from mibench.data import Split, calibration_size, split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.metrics.auroc import auroc, null_distance
from mibench.modality import IMAGE
from mibench_attacks import Blind
from mibench_datasets import Images
from mibench_datasets.images import file_facts, scaled, unscaled
from mibench_defenses import VP

SEEDS, SIDE = 20, 500
FEATURES = ("values", "spectrum", "files")
LIMIT = statistics.NormalDist().inv_cdf(1 - 0.01 / len(FEATURES) / 2)
"""Standard deviations from .5 at a family-wise 1 %, two-sided."""


def saved(x: Tensor, quality: int = 75) -> list[bytes]:
    """Images (B, 3, H, W) in [−1, 1] as JPEG files."""
    files = []
    for pixels in unscaled(x).permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        files.append(file.getvalue())
    return files


def jpeg(x: Tensor, quality: int) -> Tensor:
    """The images after JPEG of this quality."""
    pixels = [np.asarray(Image.open(io.BytesIO(file))) for file in saved(x, quality)]
    return scaled(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))


def blurred(x: Tensor) -> Tensor:
    """15 % of each pixel replaced by the mean of its 3 × 3 neighbourhood."""
    return 0.85 * x + 0.15 * avg_pool2d(pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def noisy(x: Tensor) -> Tensor:
    """Gaussian noise with a standard deviation of 1/255 of the range, one grey level."""
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * 2 / 255


def whole(x: Tensor) -> Tensor:
    """Rounded to 8 bits."""
    return scaled(unscaled(x))


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "undisturbed": (lambda x: x, 75),
    "JPEG 50": (lambda x: jpeg(x, 50), 50),
    "JPEG 75": (lambda x: jpeg(x, 75), 75),
    "JPEG 90": (lambda x: jpeg(x, 90), 90),
    "blur of 15 %": (blurred, 75),
    "blur of 15 %, 8 bits": (lambda x: whole(blurred(x)), 75),
    "noise of 1/255": (noisy, 75),
    "noise of 1/255, 8 bits": (lambda x: whole(noisy(x)), 75),
}
"""What is done to the members, and the quality with which they are then saved."""


def contexts(data: Split, changed: Tensor, quality: int, seed: int) -> Context:
    """What the attacks are given; files are those that the two halves would be saved as."""
    facts = [file_facts(file) for file in saved(changed, quality) + saved(data.nonmembers)]
    names = sorted(set().union(*facts))
    rows = torch.tensor([[row.get(name, 0.0) for name in names] for row in facts], dtype=torch.float64)
    samples = torch.cat([changed, data.nonmembers])
    known = {x.numpy().tobytes(): row for x, row in zip(samples, rows, strict=True)}
    return Context(
        seed, modality=IMAGE, file_facts=lambda x: torch.stack([known[one.float().numpy().tobytes()] for one in x])
    )


def measured(data: Split, change: str, seed: int) -> list[tuple[float, float]]:
    """For each attack the AUROC and how many standard deviations it is from .5 where there is nothing to find."""
    process, quality = CHANGES[change]
    changed = process(data.members)
    ctx, sides = contexts(data, changed, quality, seed), (changed.double(), data.nonmembers.double())
    model = Model(VP().process(), ExactDenoiser(data.reference), data.shape)
    cut, found = calibration_size(changed), []
    for features in FEATURES:
        attack = Blind(features=features)
        attack.fit(model, *(side[:cut] for side in sides), ctx)
        scores = [attack.score(model, side[cut:], ctx)["logistic"].numpy() for side in sides]
        found.append((auroc(*scores), null_distance(*scores)))
    return found


def main(path: str) -> bool:
    """Print a row per size and change; whether each is as it should be."""
    torch.set_num_threads(1)
    fine = True
    print("mean AUROC over the seeds (in how many of them it is significant at a family-wise 1 %)\n")
    print(
        "| size | members | values | spectrum | files | seeds in which any is significant |\n|---|---|---|---|---|---|"
    )
    for size in (16, 32):
        dataset = Images(path=path, size=size, members=SIDE, nonmembers=SIDE, reference=10)
        splits = [split(dataset, seed) for seed in range(SEEDS)]
        for change in CHANGES:
            found = [measured(data, change, seed) for seed, data in enumerate(splits)]
            row = []
            for of in zip(*found, strict=True):
                significant = sum(abs(z) > LIMIT for _, z in of)
                row.append(f"{statistics.fmean(area for area, _ in of):.3f} ({significant})")
            seen = sum(any(abs(z) > LIMIT for _, z in one) for one in found)
            same = change == "undisturbed" or (size, change) == (32, "JPEG 75")
            fine &= seen <= 1 if same else seen == SEEDS
            print(f"| {size} | {change} | {' | '.join(row)} | {seen} of {SEEDS} |", flush=True)
    return fine


if __name__ == "__main__":
    raise SystemExit(not main(sys.argv[1]))
