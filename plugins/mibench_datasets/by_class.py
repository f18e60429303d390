"""Datasets whose networks are told the class of a sample."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import field_validator
from torch import Tensor
from torch.nn.functional import one_hot

from mibench import Dataset, MibenchError
from mibench_datasets.cifar10 import Cifar10
from mibench_datasets.digits import Digits
from mibench_datasets.images import Images, unscaled

__all__ = ["ByClass", "Cifar10ByClass", "DigitsByClass", "ImagesByFolder"]


class ByClass(Dataset):
    """A dataset with a class for each sample, as 0s and a 1. A subclass implements ``classes``."""

    @field_validator("canaries")
    @classmethod
    def _no_canaries(cls, count: int) -> int:
        if count:
            raise ValueError("canaries have no class; take the dataset without classes")
        return count

    def classes(self, generator: torch.Generator) -> tuple[Tensor, int]:
        """The class of each sample, (N,) int64 in the order of ``pool`` for this generator, and how many classes there are."""
        raise NotImplementedError(f"{type(self).__name__} must implement classes()")

    def conditions(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The class of each sample as 0s and a 1, (N, K); samples are generated under classes as frequent as these."""
        vectors = one_hot(*self.classes(generator)).float()
        return vectors, vectors


class DigitsByClass(Digits, ByClass):
    """Handwritten digits; networks are told which digit."""

    name = "digits-by-class"
    title = "digits by class"

    def classes(self, generator: torch.Generator) -> tuple[Tensor, int]:
        """Of all 1797, ten."""
        from sklearn.datasets import load_digits

        return torch.from_numpy(load_digits().target).long(), 10


class Cifar10ByClass(Cifar10, ByClass):
    """CIFAR-10; networks are told the class of an image."""

    name = "cifar10-by-class"
    title = "CIFAR-10 by class"

    def classes(self, generator: torch.Generator) -> tuple[Tensor, int]:
        """Of all 60 000, or of those of the split file; ten."""
        numbers = _Numbers(**self.model_dump())
        parts = numbers.fixed_split(generator)
        return unscaled(numbers.pool(generator) if parts is None else torch.cat(parts)).long(), 10


class _Numbers(Cifar10):
    """The numbers of classes in the place of images, so that they are drawn as images are."""

    def images(self) -> tuple[NDArray[np.uint8], int]:
        """All numbers, (N,), those of training images first, and how many these are."""
        self.archive()
        parts = [np.array(self._torchvision(train=train).targets, dtype=np.uint8) for train in (True, False)]
        return np.concatenate(parts), len(parts[0])


class ImagesByFolder(Images, ByClass):
    """Images from a folder or archive; networks are told the name of the folder that an image is in."""

    name = "images-by-folder"
    title = "images by folder"

    def classes(self, generator: torch.Generator) -> tuple[Tensor, int]:
        """Of as many images as are needed; the classes are the folders of all, in the order of their names.

        Raises:
            MibenchError: where all images are in one folder.
        """
        archive = self.archive()
        folders = [PurePosixPath(name).parent.name for name in self.counted_names(archive, "images")]
        if len(known := sorted(set(folders))) < 2:
            raise MibenchError(
                f"{archive.path}: all images lie in one folder; put those of each class into one of its own"
            )
        needed = self.members + self.nonmembers + self.reference
        drawn = torch.randperm(len(folders), generator=generator)[:needed].sort().values.tolist()  # as ``pool`` does
        return torch.tensor([known.index(folders[k]) for k in drawn]), len(known)
