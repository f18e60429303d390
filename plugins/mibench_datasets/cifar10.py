"""CIFAR-10 as published (``cifar-10-batches-py``), read without running the code that a pickle may hold."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import pickle
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from mibench import IMAGE, MibenchError, UsageError
from mibench_datasets.archives import NO_OPTION, Archive, FileDataset
from mibench_datasets.images import scaled

__all__ = ["Cifar10", "batch_images"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""The files that hold images, training images first, and their md5 as published."""

LARGEST = 2**30
"""Bytes that a download may have."""


class _Array:
    """What stands in for a NumPy array while a pickle is read."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type:
    """What stands in for a NumPy type."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, which single bytes do not have."""


class _Unpickler(pickle.Unpickler):
    """Knows the four names that a batch needs, and for each a stand-in: nothing of NumPy or Python is called."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, new each time, as a pickle may write to what it is given."""
        standins: dict[str, Callable[..., Any]] = {
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
            "numpy._core.multiarray._reconstruct": lambda *_: _Array(),
            "numpy.ndarray": lambda *_: None,
            "numpy.dtype": lambda name, *_: _Type(name),
            "_codecs.encode": lambda text, encoding: text.encode("latin1"),
        }
        if f"{module}.{name}" not in standins:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return standins[f"{module}.{name}"]


def batch_images(content: bytes) -> NDArray[np.uint8]:
    """The images of a pickled batch, (N, 3, 32, 32).

    Raises:
        ValueError: where it asks for anything but plain values and arrays, is damaged, or holds no ``data`` of (N, 3072) uint8.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged or malicious pickles raise errors of every kind
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"is no batch of CIFAR-10 that can be read safely: {what}") from None
    data = (batch.get(b"data") or batch.get("data")) if isinstance(batch, dict) else None
    match getattr(data, "state", None):
        case (_, (int(count), 3072), _Type(name=b"u1" | "u1"), False | 0, bytes(raw)) if len(raw) == count * 3072 > 0:
            return np.frombuffer(raw, np.uint8).reshape(-1, 3, 32, 32)
    raise ValueError("holds no array 'data' of N images with 3072 bytes each")


class Cifar10(FileDataset):
    """CIFAR-10 in the published layout, colour images 32×32 in [−1, 1]: 50 000 for training, 10 000 for testing."""

    name: ClassVar = "cifar10"
    version: ClassVar = 1
    modality = IMAGE
    recipe: ClassVar = {"network": "unet-tiny", "steps": 1000, "batch": 32, "ema": 0.99, "log_snr": (0.0, 2.0)}

    split: str = Field(
        "", max_length=180, description="npz with mia_train_idxs and mia_eval_idxs: all members, all non-members"
    )
    checksum: bool = Field(
        True, description="whether the published checksums must hold; false for other data laid out alike"
    )
    download: bool = Field(False, description="whether the archive is fetched to path if nothing is there")

    @model_validator(mode="after")
    def _split_decides(self) -> Cifar10:
        if found := NO_OPTION.search(self.split):
            raise ValueError(f"split: a path with {found[0]!r} cannot be written as an option")
        defaults = type(self).model_fields
        if self.split and any(getattr(self, k) != defaults[k].default for k in ("members", "nonmembers")):
            raise ValueError("members and nonmembers are those of the split file; leave these options out")
        return self

    def archive(self) -> Archive:
        """See ``FileDataset.archive``; fetched before, where that was asked for."""
        if self.path and self.download:
            _fetch(Path(self.path))
        return super().archive()

    def counted(self, name: str) -> str | None:
        """The batches count, wherever they lie."""
        base = PurePosixPath(name).name
        return base if base in BATCHES else None

    def spec(self) -> dict[str, Any]:
        """With the digests of the batches and of the split file."""
        spec = super().spec()
        options = spec["options"]
        for option in ("checksum", "download"):
            del options[option]
        if self.split:
            options["split"] = hashlib.sha256(_content(self.split)).hexdigest()
            del options["members"], options["nonmembers"]
        return spec

    def images(self) -> tuple[NDArray[np.uint8], int]:
        """All images, (N, 3, 32, 32), training images first, and how many these are.

        Raises:
            UsageError: without a path.
            MibenchError: naming a batch that is missing, twice there, damaged or not as published.
        """
        archive = self.archive()
        found: dict[str, bytes] = {}
        for name, content in archive.files([name for name in archive.names if self.counted(name)]):
            base = str(self.counted(name))
            if base in found:
                raise MibenchError(f"{archive.path} holds {base} twice")
            if self.checksum and hashlib.md5(content, usedforsecurity=False).hexdigest() != BATCHES[base]:
                raise MibenchError(
                    f"{archive.path}: {name} is not as published (its md5 differs); fetch it again, or give checksum=false"
                )
            found[base] = content
        missing = [name for name in BATCHES if name not in found]
        if missing if self.checksum else not found:
            raise MibenchError(f"{archive.path} lacks {', '.join(missing)} of the published layout")
        parts = []
        for name in (name for name in BATCHES if name in found):
            try:
                parts.append((name, batch_images(found[name])))
            except ValueError as error:
                raise MibenchError(f"{archive.path}: {name} {error}") from None
        return np.concatenate([part for _, part in parts]), sum(
            len(part) for name, part in parts if name != "test_batch"
        )

    def pool(self, generator: torch.Generator) -> Tensor:
        """(60000, 3, 32, 32): all images; see ``images`` for errors."""
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
    except (OSError, ValueError, EOFError, TypeError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
        raise MibenchError(f"{path} is no npz that can be read safely: {' '.join(str(error).split())[:120]}") from None
    both = np.concatenate([group.ravel() for group in groups])
    if not np.issubdtype(both.dtype, np.integer) or min(len(group.ravel()) for group in groups) < 10:
        raise MibenchError(f"{path} must hold at least 10 whole numbers under each name")
    if both.min() < 0 or both.max() >= count:
        raise MibenchError(f"{path}: indices from {both.min()} to {both.max()}, but there are {count} training images")
    if len(np.unique(both)) < len(both):
        raise MibenchError(f"{path}: an index is given twice")
    members, nonmembers = (group.ravel().astype(np.int64) for group in groups)
    return members, nonmembers


def _fetch(where: Path) -> None:
    """Download the published archive if nothing is there yet: then it is there whole and checked, or not at all.

    Raises:
        MibenchError: without a network, where the checksum differs, or where it cannot be written.
    """
    temporary = None
    try:
        where = where.expanduser()
        if where.exists():
            return
        where.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=where.parent, prefix=f".{where.name}.")
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(URL, timeout=60) as answer:
            for part in iter(functools.partial(answer.read, 2**20), b""):
                digest.update(part)
                file.write(part)
                size += len(part)
                if size > LARGEST:
                    raise MibenchError(f"{URL} sends more than {LARGEST} bytes")
        if digest.hexdigest() != MD5:
            raise MibenchError(f"what {URL} sent is not the published archive (its md5 differs); try again")
        os.chmod(temporary, 0o644)
        os.replace(temporary, where)
    except (OSError, HTTPException, RuntimeError) as error:
        what = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise MibenchError(f"cannot fetch {URL} to {where}: {what}; fetch it by hand and give its path") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
