"""Folders, zips and tars of files, read safely and in a fixed order, and datasets that come from them."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import Field, field_validator

from mibench import Dataset, MibenchError, UsageError

__all__ = ["FILE_LIMIT", "NO_OPTION", "TOTAL_LIMIT", "Archive", "FileDataset", "Folder", "Tar", "Zip", "open_archive"]

FILE_LIMIT = 256 * 2**20
"""Bytes that one file may have, unpacked."""

TOTAL_LIMIT = 32 * 2**30
"""Bytes that the files of a packed archive may have together, unpacked."""

_CLUTTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
NO_OPTION = re.compile(r"[,\[\]\x00-\x1f]|\+(?=\s*[A-Za-z])|^\s|\s$")


class Archive:
    """The files below one path; nothing is ever unpacked to disk.

    Hidden files and what file managers leave behind (``.DS_Store``, ``__MACOSX``, ``Thumbs.db``) are passed over.

    Attributes:
        path: where it lies.
        names: of the files, relative, with forward slashes, sorted.
        signature: changes when a file is added, removed or written to.
    """

    path: Path
    names: tuple[str, ...]
    signature: tuple[Any, ...]

    def files(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the wanted files, or of all, in the order in which they are fastest to read.

        Raises:
            MibenchError: naming the file that cannot be read.
        """
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """The content of one file; MibenchError where there is no such file or it cannot be read."""
        if name not in self.names:
            raise MibenchError(f"{self.path} holds no file {name!r}")
        return next(iter(self.files([name])))[1]

    def hashes(self) -> dict[str, str]:
        """The sha256 of every file by its name; computed once per process as long as nothing is written to."""
        if self.signature not in _HASHES:
            _HASHES[self.signature] = {name: hashlib.sha256(data).hexdigest() for name, data in self.files()}
        return _HASHES[self.signature]

    def _error(self, name: str, what: str) -> MibenchError:
        return MibenchError(f"{self.path}: {name} {what}")

    def _broken(self, name: str, error: BaseException) -> MibenchError:
        text = " ".join(str(getattr(error, "strerror", None) or error).split())[:120]
        return self._error(name, f"cannot be read: {text or type(error).__name__}")


_HASHES: dict[tuple[Any, ...], dict[str, str]] = {}


class Folder(Archive):
    """A folder with everything below it; links must stay inside it and lead to files.

    Raises:
        MibenchError: naming a link that leads out or to a folder, a device, a file too large, or a folder that cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        found = dict(self._walk(self._root))
        self.names = tuple(sorted(found))
        self.signature = (str(self._root), *((name, *found[name]) for name in self.names))

    def _walk(self, folder: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise MibenchError(f"{folder} cannot be listed: {error.strerror}") from None
        for entry in entries:
            name = Path(entry.path).relative_to(self._root).as_posix()
            if _clutter(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))
                continue
            try:
                if entry.is_symlink() and not Path(entry.path).resolve(strict=True).is_relative_to(self._root):
                    raise self._error(name, "is a link that leads out of the folder")
                facts = entry.stat()
            except (OSError, RuntimeError):
                raise self._error(name, "is a link that leads nowhere") from None
            if not stat.S_ISREG(facts.st_mode):
                raise self._error(name, "is no regular file")
            if facts.st_size > FILE_LIMIT:
                raise self._error(name, f"is larger than {FILE_LIMIT // 2**20} MiB")
            yield name, (facts.st_ino, facts.st_mtime_ns, facts.st_size)

    def files(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """See ``Archive.files``; sorted."""
        for name in sorted(self.names if wanted is None else wanted):
            try:
                yield name, (self._root / name).read_bytes()
            except OSError as error:
                raise self._broken(name, error) from None


class _Packed(Archive):
    """One file that holds others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = path.stat()
        self.signature = (str(path.resolve()), facts.st_ino, facts.st_mtime_ns, facts.st_size)
        sizes: dict[str, int] = {}
        try:
            for name, size in self._list():
                if _unsafe(name):
                    raise self._error(repr(name), "points out of the archive")
                if _clutter(*PurePosixPath(name).parts):
                    continue
                if name in sizes:
                    raise self._error(name, "is in it twice")
                if size > FILE_LIMIT:
                    raise self._error(name, f"is larger than {FILE_LIMIT // 2**20} MiB unpacked")
                sizes[name] = size
        except _DAMAGE as error:
            raise self._damaged(error) from None
        if sum(sizes.values()) > TOTAL_LIMIT:
            raise MibenchError(f"{path}: its files are larger than {TOTAL_LIMIT / 2**30:g} GiB unpacked")
        self.names = tuple(sorted(sizes))

    def _damaged(self, error: BaseException) -> MibenchError:
        return MibenchError(f"{self.path} is damaged or incomplete ({' '.join(str(error).split())[:120]})")

    def _list(self) -> Iterator[tuple[str, int]]:
        """Names and unpacked sizes of the regular files; MibenchError for links, devices and encrypted files."""
        raise NotImplementedError


class Zip(_Packed):
    """A zip.

    Raises:
        MibenchError: where it is damaged, or naming an entry that points out of it, is a link, is encrypted or is too large.
    """

    def _list(self) -> Iterator[tuple[str, int]]:
        with zipfile.ZipFile(self.path) as file:
            for entry in file.infolist():
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise self._error(entry.filename, "is a link")
                if entry.flag_bits & 1:
                    raise self._error(entry.filename, "is encrypted; unpack it first")
                if not entry.is_dir():
                    yield entry.filename, entry.file_size

    def files(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """See ``Archive.files``; sorted."""
        with zipfile.ZipFile(self.path) as file:
            for name in sorted(self.names if wanted is None else wanted):
                try:
                    data = file.read(name)
                except _DAMAGE as error:
                    raise self._broken(name, error) from None
                yield name, data


class Tar(_Packed):
    """A tar, compressed or not.

    Raises:
        MibenchError: where it is damaged, or naming an entry that points out of it, is a link or device, or is too large.
    """

    def _list(self) -> Iterator[tuple[str, int]]:
        with tarfile.open(self.path) as file:
            for entry in file:
                if not entry.isfile() and not entry.isdir():
                    raise self._error(entry.name, "is no regular file")
                if entry.isfile():
                    yield entry.name, entry.size

    def files(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """See ``Archive.files``; in the order of the tar, so that it is unpacked once."""
        left = set(self.names if wanted is None else wanted)
        with tarfile.open(self.path) as file:
            for entry in file:
                if entry.isfile() and entry.name in left:
                    left.remove(entry.name)
                    try:
                        data = file.extractfile(entry).read()  # type: ignore[union-attr]
                    except _DAMAGE as error:
                        raise self._broken(entry.name, error) from None
                    yield entry.name, data


def open_archive(path: str | Path) -> Archive:
    """The folder, zip or tar at a path, ``~`` expanded.

    Raises:
        MibenchError: where there is none, or it cannot be read safely, see ``Folder``, ``Zip`` and ``Tar``.
    """
    where = Path(path)
    try:
        where = where.expanduser()
        if where.is_dir():
            return Folder(where)
        if not where.exists():
            raise MibenchError(f"there is no folder or archive {where}")
        if zipfile.is_zipfile(where):
            return Zip(where)
        if tarfile.is_tarfile(where):
            return Tar(where)
    except _DAMAGE as error:
        raise MibenchError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    raise MibenchError(f"{where} is no folder, no zip and no tar, or it is incomplete")


def _unsafe(name: str) -> bool:
    """Whether a name in an archive is absolute or leads upwards, on any system."""
    parts = re.split(r"[/\\]", name)
    return not parts[0] or ".." in parts or bool(re.match(r"[A-Za-z]:", name))


def _clutter(*parts: str) -> bool:
    return any(part.startswith(".") or part in _CLUTTER for part in parts)


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
        """A label must name the same component again."""
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

    @functools.cached_property
    def content(self) -> str:
        """sha256 over the names and contents of the files that count, in the order of their names."""
        hashes = self.archive().hashes()
        counted = sorted(
            (known, digest) for name, digest in hashes.items() if (known := self.counted(name)) is not None
        )
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
