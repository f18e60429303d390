"""Models in folders, as diffusers saves its pipelines: nothing is ever looked up on a network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from mibench.auditing.checkpoint import Checkpoint
from mibench.auditing.latents import latents_config, load_latents
from mibench.auditing.parts import load_part, needed, read_config, weights_of
from mibench.auditing.text import TextNetwork, load_text
from mibench.errors import UsageError
from mibench.kinds import Prediction

__all__ = ["ModelFolder", "digest_of_files", "scheduler_levels"]

NETWORKS = ("UNet2DModel", "UNet2DConditionModel", "ExportedNetwork")
SCALED = ("epsilon", "sample", "v_prediction")


def digest_of_files(paths: list[Path], root: Path) -> str:
    """sha256 over the names below a folder and the contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True)
class ModelFolder:
    """A folder of a diffusers model.

    Attributes:
        root: the folder that was given.
        network: the folder of the network.
        scheduler: the folder of the scheduler.
        trust_pickle: whether weights that are only there as pickles are read; these can run any program.
    """

    root: Path
    network: Path
    scheduler: Path
    trust_pickle: bool = False

    @classmethod
    def at(
        cls, path: Path, weights: str | None = None, scheduler: Path | None = None, trust_pickle: bool = False
    ) -> ModelFolder:
        """The model in a folder with ``unet/`` and ``scheduler/``, or with both configs in it.

        Args:
            path: of the folder.
            weights: the folder of the network below it; by default ``unet``, or the folder itself.
            scheduler: another folder of a scheduler.
            trust_pickle: see the attribute.

        Raises:
            UsageError: where a folder or config is missing.
        """
        if not path.is_dir():
            raise UsageError(f"there is no folder {path}; give the folder of a diffusers pipeline, or file.py:function")
        network = path / weights if weights else path / "unet" if (path / "unet").is_dir() else path
        if not (network / "config.json").is_file():
            found = ", ".join(sorted(p.parent.name for p in path.glob("*/config.json"))) or "none"
            raise UsageError(f"{network} holds no config.json of a network; folders with one: {found} (--weights)")
        named = scheduler or (path / "scheduler" if (path / "scheduler").is_dir() else path)
        if not (named / "scheduler_config.json").is_file():
            raise UsageError(f"{named} holds no scheduler_config.json; name the folder of a scheduler with --scheduler")
        return cls(path, network, named, trust_pickle)

    @property
    def config(self) -> dict[str, Any]:
        """The config of the network."""
        return read_config(self.network / "config.json")

    @property
    def takes_text(self) -> bool:
        """Whether the network is given text."""
        return self.config.get("_class_name") == "UNet2DConditionModel"

    def files(self) -> list[Path]:
        """What the scores depend on: the files of the network, of the scheduler, and of what stands between them and images."""
        found = [*weights_of(self.network), self.network / "config.json", self.scheduler / "scheduler_config.json"]
        if latents := latents_config(self.root):
            found += [*weights_of(latents[0]), latents[0] / "config.json"]
        if self.takes_text:
            encoder, words = self.root / "text_encoder", self.root / "tokenizer"
            found += [
                *weights_of(encoder),
                encoder / "config.json",
                *(path for path in words.iterdir() if path.is_file()),
            ]
        return found

    def digest(self) -> str:
        """Of what the scores depend on."""
        folders = sorted({path.parent for path in self.files()})
        parts = [digest_of_files([p for p in self.files() if p.parent == folder], folder) for folder in folders]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def checkpoint(self, size: int | None = None, empty: int | None = None) -> Checkpoint:
        """The network and its levels.

        Args:
            size: height and width of a sample, where the network's config has none.
            empty: the label that stands for no class, where the network was trained with one.

        Raises:
            UsageError: where a part is of no known kind, or weights are missing or only there as pickles.
        """
        config = self.config
        name = str(config.get("_class_name"))
        if name not in NETWORKS:
            raise UsageError(f"{self.network}: unknown network {name[:60]!r}; known: {', '.join(NETWORKS)}")
        levels = scheduler_levels(self.scheduler)
        latents = latents_config(self.root)
        shape = _shape(config, size, self.network, 2 ** (len(latents[1]["block_out_channels"]) - 1) if latents else 1)
        classes = int(config.get("num_class_embeds") or 0)
        if config.get("class_embed_type") in ("timestep", "identity", "projection", "simple_projection"):
            raise UsageError(f"{self.network}: conditions of the kind {config['class_embed_type']!r} are not known")
        facts = {
            "network": name,
            "scheduler": levels.pop("name"),
            "schedule": levels.pop("schedule"),
            "prediction": levels["prediction"],
        }
        if self.takes_text and classes:
            raise UsageError(f"{self.network}: a network that is given both classes and text is not known")
        encoder, captions = load_text(self.root, config, self.trust_pickle) if self.takes_text else (None, None)
        autoencoder = load_latents(self.root, shape, self.trust_pickle)
        home = "mibench.auditing.exported" if name == "ExportedNetwork" else "diffusers"
        network = load_part(self.network, name, self.trust_pickle, home)
        return Checkpoint(
            network if encoder is None else TextNetwork(network, encoder),
            shape=shape,
            labels=classes,
            empty=empty,
            captions=captions,
            autoencoder=autoencoder,
            facts=facts | ({"autoencoder": latents[1]["_class_name"]} if latents else {}),
            **levels,
        )


def _shape(config: dict[str, Any], size: int | None, where: Path, times: int) -> tuple[int, int, int]:
    """The shape of a sample from a network's config; an image is ``times`` as high and wide."""
    known = config.get("sample_size")
    sides = [int(side) for side in known] if isinstance(known, list) else [int(known)] * 2 if known else []
    if not sides and not size:
        raise UsageError(f"{where}: its config has no sample_size; give --size N")
    if sides and size and [side * times for side in sides] != [size, size]:
        raise UsageError(
            f"--size {size}: the network was made for {sides[0] * times}×{sides[1] * times}; leave --size out"
        )
    if not sides and (size or 0) % times:
        raise UsageError(f"--size {size}: the autoencoder needs a multiple of {times}")
    height, width = sides or [(size or 0) // times] * 2
    return int(config.get("in_channels", 3)), height, width


def scheduler_levels(folder: Path) -> dict[str, Any]:
    """What a scheduler's config says, as arguments of ``Checkpoint``, with its ``name`` and ``schedule``.

    Raises:
        UsageError: for an unknown scheduler, schedule or prediction type.
    """
    config = read_config(folder / "scheduler_config.json")
    name, kind = str(config.get("_class_name")), config.get("prediction_type", "epsilon")
    known = needed("diffusers", "schedulers")
    cls = getattr(known, name, None) if name.endswith("Scheduler") else None
    if cls is None:
        raise UsageError(f"{folder}: unknown scheduler {name[:60]!r}")
    try:
        scheduler = cls.from_config({key: value for key, value in config.items() if key != "trained_betas" or value})
    except Exception as error:
        raise UsageError(f"{folder}: {name} refuses its config: {str(error)[:160]}") from None
    settings = scheduler.config
    if name.startswith("EDM"):
        levels = _karras(settings)
        kind = {"epsilon": "edm", "v_prediction": "edm_v"}.get(str(kind), str(kind))
    elif name.startswith("FlowMatch"):
        sigma = np.sort(np.asarray(scheduler.sigmas, dtype=np.float64).ravel()[: settings.num_train_timesteps])
        steps = sigma * settings.num_train_timesteps
        levels, kind = {"alpha": 1 - sigma, "sigma": sigma, "times": steps}, "flow"
        levels["schedule"] = f"flow matching, shift {settings.get('shift', 1.0):g}"
    elif name == "ScoreSdeVeScheduler":
        low, high = np.log([settings.sigma_min, settings.sigma_max])
        sigma = np.exp(np.linspace(low, high, settings.num_train_timesteps))
        levels, kind = {"alpha": np.ones_like(sigma), "sigma": sigma, "times": sigma}, "score"
        levels["schedule"] = f"VE, σ from {settings.sigma_min:g} to {settings.sigma_max:g}"
    elif hasattr(scheduler, "alphas_cumprod"):
        levels = {"alpha_bar": np.asarray(scheduler.alphas_cumprod, dtype=np.float64)}
        levels["schedule"] = f"{settings.beta_schedule}, {settings.beta_start:g} to {settings.beta_end:g}"
        if betas := settings.get("trained_betas"):  # which diffusers rounds to single precision
            levels = {"alpha_bar": np.cumprod(1 - np.asarray(betas, dtype=np.float64)), "schedule": "betas of its own"}
    else:
        raise UsageError(f"{folder}: the levels of {name} are not known; use file.py:function with mibench.Checkpoint")
    if kind not in (*SCALED, "edm", "edm_v", "flow", "score"):
        raise UsageError(f"{folder}: unknown prediction type {str(kind)[:40]!r}; known: {', '.join(SCALED)}")
    return {**levels, "prediction": cast(Prediction, kind), "name": name}


def _karras(settings: Any) -> dict[str, Any]:
    """The levels of EDM (arXiv 2206.00364, table 1): c_in on the network's input, ¼ ln σ as its time."""
    ramp, rho = np.linspace(0, 1, settings.num_train_timesteps), settings.rho
    low, high = settings.sigma_min, settings.sigma_max
    if settings.get("sigma_schedule", "karras") == "karras":
        sigma = (low ** (1 / rho) + ramp * (high ** (1 / rho) - low ** (1 / rho))) ** rho
    else:
        sigma = np.exp(np.log(low) + ramp * (np.log(high) - np.log(low)))
    return {
        "alpha": np.ones_like(sigma),
        "sigma": sigma,
        "times": np.log(sigma) / 4,
        "input_scale": 1 / np.hypot(sigma, settings.sigma_data),
        "sigma_data": float(settings.sigma_data),
        "schedule": f"EDM, σ from {low:g} to {high:g}",
    }
