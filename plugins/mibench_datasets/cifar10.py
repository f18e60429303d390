"""CIFAR-10 as published (``cifar-10-batches-py``), read and downloaded by torchvision."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from mibench import IMAGE, FileDataset, MibenchError, UsageError
from mibench.archives import Archive, open_archive
from mibench.file_datasets import NO_OPTION
from mibench_datasets.images import scaled

__all__ = ["Cifar10"]

FOLDER = "cifar-10-batches-py"
REMEDY = "unpack cifar-10-python.tar.gz there, or give download=true"
BATCHES = {*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"}
"""The files that hold images; only these count in keys."""


class Cifar10(FileDataset):
    """CIFAR-10 in the published layout, colour images 32×32 in [−1, 1]: 50 000 for training, 10 000 for testing."""

    name = "cifar10"
    title = "CIFAR-10"
    modality = IMAGE
    recipe = {"network": "unet-tiny", "steps": 1000, "batch": 32, "ema": 0.99, "log_snr": (0.0, 2.0)}

    path: str = Field("", max_length=180, description=f"the folder that holds {FOLDER}")
    split: str = Field(
        "", max_length=180, description="npz with mia_train_idxs and mia_eval_idxs: all members, all non-members"
    )
    download: bool = Field(False, description=f"whether {FOLDER} is downloaded to the folder if it is not there")

    @model_validator(mode="after")
    def _split_decides(self) -> Cifar10:
        if found := NO_OPTION.search(self.split):
            raise ValueError(f"split: a path with {found[0]!r} cannot be written as an option")
        defaults = type(self).model_fields
        if self.split and any(getattr(self, k) != defaults[k].default for k in ("members", "nonmembers")):
            raise ValueError("members and nonmembers are those of the split file; leave these options out")
        return self

    def archive(self) -> Archive:
        """The folder of batches; downloaded before, where that was asked for.

        Raises:
            UsageError: without a path.
            MibenchError: where there is no such folder, or as ``Archive``.
        """
        if not self.path:
            raise UsageError(f"dataset {self.name}: give path=…, the folder that holds {FOLDER}")
        if self.download:
            self._torchvision(download=True)
        folder = Path(self.path).expanduser() / FOLDER
        if not folder.is_dir():
            raise MibenchError(f"there is no folder {folder}; {REMEDY}")
        return open_archive(folder)

    def counted(self, name: str) -> str | None:
        """The batches count."""
        return name if name in BATCHES else None

    def spec(self) -> dict[str, Any]:
        """With the digests of the batches and of the split file."""
        spec = super().spec()
        options = spec["options"]
        del options["download"]
        if self.split:
            options["split"] = hashlib.sha256(_content(self.split)).hexdigest()
            del options["members"], options["nonmembers"]
        return spec

    def images(self) -> tuple[NDArray[np.uint8], int]:
        """All images, (N, 3, 32, 32), training images first, and how many these are.

        Raises:
            UsageError: without a path.
            MibenchError: where a batch is missing or differs from the published one, or torchvision is missing.
        """
        self.archive()
        parts = [self._torchvision(train=train).data.transpose(0, 3, 1, 2) for train in (True, False)]
        return np.concatenate(parts), len(parts[0])

    def _torchvision(self, **options: bool) -> Any:
        """The dataset of torchvision, which checks the published md5 of every file before it unpickles one."""
        try:
            from torchvision.datasets import CIFAR10
        except (ImportError, OSError, RuntimeError):
            raise MibenchError("CIFAR-10 needs torchvision: pip install 'mibench[images]'") from None
        root = Path(self.path).expanduser()
        try:
            return CIFAR10(root, **options)
        except (OSError, HTTPException) as error:
            what = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise MibenchError(f"cannot download {CIFAR10.url} to {root}: {what}") from None
        except RuntimeError:
            raise MibenchError(
                f"{root / FOLDER} is not as published (a file is missing or its md5 differs); {REMEDY}"
            ) from None

    def pool(self, generator: torch.Generator) -> Tensor:
        """(60000, 3, 32, 32): all images, in [−1, 1]; see ``images`` for errors."""
        return scaled(torch.from_numpy(self.images()[0]))

    def fixed_split(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor] | None:
        """With a split file its members and non-members, shuffled, and a reference drawn from all other images."""
        if not self.split:
            return None
        pixels, training = self.images()
        groups = _indices(self.split, training)
        left = np.setdiff1d(np.arange(len(pixels)), np.concatenate(groups))
        if len(left) < self.reference:
            raise UsageError(
                f"dataset {self.label}: the split file leaves {len(left)} images, fewer than reference={self.reference}"
            )
        drawn = [torch.from_numpy(group)[torch.randperm(len(group), generator=generator)] for group in (*groups, left)]
        members, nonmembers, reference = (scaled(torch.from_numpy(pixels)[k]) for k in drawn)
        return members, nonmembers, reference[: self.reference]


def _content(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        raise MibenchError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _indices(path: str, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Members and non-members of a split file, as indices of training images.

    Raises:
        MibenchError: where it is no such file, or an index is out of range or given twice.
    """
    groups = []
    try:
        with np.load(io.BytesIO(_content(path)), allow_pickle=False) as file:
            for key in ("mia_train_idxs", "mia_eval_idxs"):
                if key not in file:
                    raise MibenchError(f"{path} holds no {key}")
                groups.append(file[key])
    except (OSError, ValueError, EOFError, TypeError, MemoryError, zlib.error, zipfile.BadZipFile):
        raise MibenchError(f"{path} is no npz that can be read safely, or is damaged") from None
    both = np.concatenate([group.ravel() for group in groups])
    if not np.issubdtype(both.dtype, np.integer) or min(len(group.ravel()) for group in groups) < 10:
        raise MibenchError(f"{path} must hold at least 10 whole numbers under each name")
    if both.min() < 0 or both.max() >= count:
        raise MibenchError(f"{path}: indices from {both.min()} to {both.max()}, but there are {count} training images")
    if len(np.unique(both)) < len(both):
        raise MibenchError(f"{path}: an index is given twice")
    members, nonmembers = (group.ravel().astype(np.int64) for group in groups)
    return members, nonmembers
