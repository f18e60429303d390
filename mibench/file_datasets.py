"""The base class of datasets that read files."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from mibench.archives import Archive, open_archive
from mibench.components import Dataset
from mibench.errors import MibenchError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NO_OPTION", "FileDataset", "FileReader"]

NO_OPTION = re.compile(r"[,\[\]\x00-\x1f]|\+(?=\s*[A-Za-z])|^\s|\s$")
"""What a path must not contain, or a label with it could not be read again."""


class FileDataset(Dataset):
    """A dataset that is read from a folder or archive, which counts by its content and not by its path.

    Attributes:
        needs_files: whether a pool cannot be made from the defaults alone, for want of a path.
    """

    needs_files: ClassVar[bool] = True

    path: str = Field("", max_length=180, description="folder, zip or tar; it counts by its content, not by its name")

    @field_validator("path")
    @classmethod
    def _can_be_written(cls, path: str) -> str:
        if found := NO_OPTION.search(path):
            raise ValueError(
                f"a path with {found[0]!r} cannot be written as an option; rename it, or give a link to it"
            )
        return path

    def archive(self) -> Archive:
        """The files.

        Raises:
            UsageError: where no path was given.
            MibenchError: where there are none, or they cannot be read safely.
        """
        if not self.path:
            raise UsageError(f"dataset {self.name}: give path=…, a folder or archive")
        return open_archive(self.path)

    def counted(self, name: str) -> str | None:
        """The name by which a file counts in ``content``, None for one that does not; by default its own."""
        return name

    def counted_names(self, archive: Archive, what: str) -> list[str]:
        """The names of the files that count.

        Raises:
            MibenchError: where there are none of what is looked for.
        """
        names = [name for name in archive.names if self.counted(name) is not None]
        if not names:
            raise MibenchError(f"{archive.path} holds no {what} ({len(archive.names)} other files)")
        return names

    @functools.cached_property
    def content(self) -> str:
        """sha256 over the names and contents of the files that count, in the order of their names."""
        hashes = self.archive().hashes()
        counted = sorted((known, hashes[name]) for name in hashes if (known := self.counted(name)) is not None)
        total = hashlib.sha256()
        for name, digest in counted:
            total.update(f"{len(name)} {name} {digest}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def spec(self) -> dict[str, Any]:
        """As of every component, with the digest of the content in place of the path."""
        spec = super().spec()
        if spec["options"].pop("path"):
            spec["options"]["content"] = self.content
        return spec


class FileReader:
    """How one file of a dataset becomes a sample, so that ``mibench audit`` can read folders of any size file by file.

    A plugin subclasses it for its dataset: ``class MyReader(FileReader, of=MyDataset)``.

    Args:
        dataset: its options.
    """

    known: ClassVar[dict[type[FileDataset], type[FileReader]]] = {}

    def __init_subclass__(cls, of: type[FileDataset]) -> None:
        FileReader.known[of] = cls

    def __init__(self, dataset: FileDataset) -> None:
        self.dataset = dataset

    def read(self, data: bytes) -> Tensor:
        """The sample in a file, (*item) float32.

        Raises:
            ValueError: saying what is wrong with the file, such as "is no readable image".
        """
        raise NotImplementedError(f"{type(self).__name__} must implement read()")

    def describe(self, data: bytes) -> dict[str, float]:
        """Facts of a readable file, see ``Dataset.file_facts``; by default none."""
        return {}
