"""Folders, zips and tars of files, read safely and in a fixed order."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mibench.errors import MibenchError

__all__ = ["FILE_LIMIT", "Archive", "Folder", "Tar", "Zip", "open_archive"]

FILE_LIMIT = 256 * 2**20
"""Bytes that one file may have, unpacked."""

_CLUTTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError, zlib.error)

Stamp = tuple[int, int, int]
"""Inode, time of the last change in ns, and size."""


class Archive:
    """The files below one path; nothing is ever unpacked to disk.

    Hidden files and what file managers leave behind (``.DS_Store``, ``__MACOSX``, ``Thumbs.db``) are left out.

    Attributes:
        path: of the folder, zip or tar.
        names: of the files, relative, with forward slashes, sorted.
        signature: changes when a file is added, removed or written to.

    Raises:
        MibenchError: where it is damaged, or naming an entry that points out of it, is a link out of it or a device, is twice in
            it or is too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        files: dict[str, tuple[int, Stamp | None]] = {}
        try:
            for name, size, stamp in self._list():
                if _points_out(name):
                    raise self._error(repr(name), "points out of the archive")
                if _is_clutter(*PurePosixPath(name).parts):
                    continue
                if name in files:
                    raise self._error(name, "is in it twice")
                if size > FILE_LIMIT:
                    raise self._error(name, f"is larger than {FILE_LIMIT // 2**20} MiB")
                files[name] = size, stamp
            self.signature = (str(path.resolve()), _stamp(path.stat()), tuple(sorted(files.items())))
        except _DAMAGE as error:
            raise MibenchError(f"{path} is damaged or incomplete ({_short(error)})") from None
        self.names = tuple(sorted(files))

    def files(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the wanted files, or of all, in the order in which they are fastest to read.

        Raises:
            MibenchError: naming the file that cannot be read.
        """
        for name, read in self._open(self.names if wanted is None else wanted):
            try:
                data = read()
            except _DAMAGE as error:
                raise self._error(name, f"cannot be read: {_short(error)}") from None
            yield name, data

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

    def _list(self) -> Iterator[tuple[str, int, Stamp | None]]:
        """Name and unpacked size of each file; in a folder also its stamp."""
        raise NotImplementedError

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """The wanted files, each with a function that reads it."""
        raise NotImplementedError

    def _error(self, name: str, what: str) -> MibenchError:
        return MibenchError(f"{self.path}: {name} {what}")


_HASHES: dict[tuple[Any, ...], dict[str, str]] = {}


class Folder(Archive):
    """A folder with everything below it; links must lead to files inside it."""

    def _list(self) -> Iterator[tuple[str, int, Stamp | None]]:
        root = self.path.resolve()
        for folder, folders, files in os.walk(root, onerror=_cannot_list):
            folders[:] = [name for name in folders if not _is_clutter(name)]
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for path in (Path(folder, name) for name in [*files, *links] if not _is_clutter(name)):
                name = path.relative_to(root).as_posix()
                try:
                    target, facts = path.resolve(strict=True), path.stat()
                except (OSError, RuntimeError):
                    raise self._error(name, "is a link that leads nowhere") from None
                if not target.is_relative_to(root):
                    raise self._error(name, "is a link that leads out of the folder")
                if not stat.S_ISREG(facts.st_mode):
                    raise self._error(name, "is no regular file")
                yield name, facts.st_size, _stamp(facts)

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for name in sorted(wanted):
            yield name, (self.path / name).read_bytes


class Zip(Archive):
    """A zip."""

    def _list(self) -> Iterator[tuple[str, int, Stamp | None]]:
        with zipfile.ZipFile(self.path) as file:
            for entry in file.infolist():
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise self._error(entry.filename, "is a link")
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, None

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        with zipfile.ZipFile(self.path) as file:
            for name in sorted(wanted):
                yield name, functools.partial(file.read, name)


class Tar(Archive):
    """A tar, compressed or not; files are read in its own order, so that it is unpacked once."""

    def _list(self) -> Iterator[tuple[str, int, Stamp | None]]:
        with tarfile.open(self.path) as file:
            for entry in file:
                if not entry.isfile() and not entry.isdir():
                    raise self._error(entry.name, "is no regular file")
                if entry.isfile():
                    yield entry.name, entry.size, None

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        wanted = set(wanted)
        with tarfile.open(self.path) as file:
            for entry in file:
                if entry.isfile() and entry.name in wanted:
                    yield entry.name, functools.partial(_read_entry, file, entry)


def _read_entry(file: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    content = file.extractfile(entry)
    return content.read() if content else b""


def open_archive(path: str | Path) -> Archive:
    """The folder, zip or tar at a path, ``~`` expanded.

    Raises:
        MibenchError: where there is none, or as ``Archive``.
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
        raise MibenchError(f"{where} cannot be read: {_short(error)}") from None
    raise MibenchError(f"{where} is no folder, no zip and no tar, or it is incomplete")


def _points_out(name: str) -> bool:
    """Whether a name in an archive is absolute or leads upwards, on any system."""
    parts = re.split(r"[/\\]", name)
    return not parts[0] or ".." in parts or bool(re.match(r"[A-Za-z]:", name))


def _is_clutter(*parts: str) -> bool:
    return any(part.startswith(".") or part in _CLUTTER for part in parts)


def _stamp(facts: os.stat_result) -> Stamp:
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _cannot_list(error: OSError) -> None:
    raise MibenchError(f"{error.filename} cannot be listed: {error.strerror}") from None


def _short(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())[:120]
    return text or type(error).__name__
