"""Writes a VP model of mibench as a folder of diffusers, and the files of its split as folders of images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from mibench.data import Split
from mibench.diffusion.denoisers import NetworkDenoiser, parameterisations
from mibench.diffusion.model import Model
from mibench.errors import MibenchError, UsageError
from mibench.files import write_text
from mibench.modality import Modality
from mibench.recipe import Recipe

__all__ = ["export_diffusers", "write_images"]

STEPS = 1000


def export_diffusers(
    model: Model, recipe: Recipe, folder: Path, normalisation: tuple[float, float] = (0.0, 1.0)
) -> None:
    """Write ``unet/``, ``scheduler/`` and ``model_index.json``, which ``DDPMPipeline.from_pretrained`` loads.

    Step k of 1000 is the time (k + 1) / 1000 of the horizon; the betas are those of the process.

    Args:
        model: a trained model with its weights.
        recipe: that trained it.
        folder: to write to; it must not exist, or be empty.
        normalisation: shift and scale of its data.

    Raises:
        UsageError: where the model is of another process than VP, conditional or no trained network, or the folder holds files.
        MibenchError: without diffusers.
    """
    denoiser, process = model.denoiser, model.process
    names = [name for name, cls in parameterisations.items() if type(denoiser) is cls]
    if not names or not isinstance(denoiser, NetworkDenoiser):
        raise UsageError("only a trained network can be exported, as its defense releases it without changes")
    if model.is_conditional:
        raise UsageError(
            "a model that is told conditions cannot be exported: the pipelines that load exports tell none"
        )
    times = (torch.arange(STEPS, dtype=torch.float64) + 1) / STEPS * process.horizon
    kernel = process.kernel(times)
    if process.order > 1 or (kernel.mean_coef[:, 0] ** 2 + kernel.factor[:, 0, 0] ** 2 - 1).abs().max() > 1e-6:
        raise UsageError("only models of VP can be exported: diffusers has no schedulers of other processes")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; give a new folder")
    try:
        from diffusers import DDPMScheduler

        from mibench.auditing.exported import ExportedNetwork
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise MibenchError(f"exporting needs diffusers ({reason[:120]}): pip install 'mibench[audit]'") from None
    shape = list(model.shape)
    network = ExportedNetwork(
        shape=shape,
        recipe=recipe.model_dump(mode="json"),
        parameterisation=names[0],
        data_variance=denoiser.data_variance,
        log_snr=kernel.log_snr.tolist(),
        sample_size=shape[1] if len(shape) == 3 and shape[1] == shape[2] else shape[1:],
        in_channels=shape[0],
        out_channels=shape[0],
        normalisation=list(normalisation),
    )
    network.denoiser.load_state_dict(denoiser.state_dict())
    network.save_pretrained(folder / "unet")
    alpha_bar = (kernel.mean_coef[:, 0] ** 2).numpy()
    betas = 1 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])
    scheduler = DDPMScheduler(
        num_train_timesteps=STEPS, trained_betas=betas.tolist(), clip_sample=normalisation == (0.0, 1.0)
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["mibench.auditing.exported", "ExportedNetwork"],
    }
    write_text(folder / "model_index.json", json.dumps(index, indent=2) + "\n")


def write_images(data: Split, modality: Modality, folder: Path) -> None:
    """Write members, non-members and reference as PNGs, values in [−1, 1] rounded to 256 levels.

    Raises:
        UsageError: where the data are no images, or the folder holds files.
    """
    if not modality.images:
        raise UsageError(f"samples of the modality {modality.name} cannot be written as images")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; give a new folder")
    from PIL import Image

    for name in ("members", "nonmembers", "reference"):
        (folder / name).mkdir(parents=True)
        pixels = ((data.raw(getattr(data, name)) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        for k, image in enumerate(pixels.movedim(1, -1).numpy()):
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(folder / name / f"{k:06d}.png")
