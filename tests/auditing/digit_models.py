"""Digits as files, and a model of them that needs no training: the optimal network of a set, as a function in a file."""

import numpy as np
from PIL import Image

MODEL = '''
"""The optimal network of the images in a folder, by the names that the settings of a test give."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import mibench

SETTINGS = {settings}


class Optimal(nn.Module):
    def __init__(self, alpha_bar):
        super().__init__()
        files = sorted(Path(SETTINGS["folder"]).glob("*.png"))[: SETTINGS.get("count")]
        pixels = torch.stack([torch.from_numpy(np.asarray(Image.open(file)).astype("float64")) for file in files])
        pixels = pixels[..., None] if pixels.dim() == 3 else pixels
        points = pixels.permute(0, 3, 1, 2) / 127.5 - 1
        if SETTINGS.get("flip"):
            points = points.flip(1)
        low, high = SETTINGS.get("range", (-1, 1))
        self.register_buffer("points", low + (points + 1) / 2 * (high - low))
        self.register_buffer("alpha_bar", torch.from_numpy(alpha_bar))
        self.blur = SETTINGS.get("blur", 0.0)

    def forward(self, x, step):
        k = step.long().clamp(0, len(self.alpha_bar) - 1)
        alpha, sigma = self.alpha_bar[k].sqrt(), (1 - self.alpha_bar[k]).sqrt()
        level = (sigma**2 + alpha**2 * self.blur**2)[:, None]
        flat = x.double().flatten(1)
        apart = (flat[:, None] - alpha[:, None, None] * self.points.flatten(1)[None]).square().sum(2)
        mean = torch.softmax(-apart / level / 2, 1) @ self.points.flatten(1)
        # of a mixture of Gaussians of this width
        share = alpha[:, None] * self.blur**2 / level
        clean = mean + share * (flat - alpha[:, None] * mean)
        eps = (flat - alpha[:, None] * clean) / sigma[:, None]
        kind = SETTINGS.get("answers", "epsilon")
        out = dict(epsilon=eps, sample=clean, v_prediction=alpha[:, None] * eps - sigma[:, None] * clean)[kind]
        return out.view_as(x).float()


def levels(schedule):
    if schedule == "cosine":
        place = (np.arange(101) / 100 + 0.008) / 1.008
        bar = np.cos(place * np.pi / 2) ** 2
        return np.cumprod(np.clip(bar[1:] / bar[:-1], 1e-3, 1))
    return np.cumprod(1 - np.linspace(1e-3, 0.2, 100))


def make():
    network = Optimal(levels(SETTINGS.get("trained", "linear")))
    return mibench.Checkpoint(
        network, levels(SETTINGS.get("schedule", "linear")), SETTINGS.get("prediction", "epsilon"), SETTINGS["shape"]
    )
'''


def save(images, folder, spoil=lambda image: image, name="png", **options):
    """Images (N, 8, 8[, 3]) of [0, 255] as files."""
    folder.mkdir()
    for k, pixels in enumerate(images):
        spoil(Image.fromarray(pixels.astype(np.uint8))).save(folder / f"{k:04d}.{name}", **options)
