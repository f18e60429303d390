"""Files that are there whole or not at all, and digests of their content."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mibench.errors import MibenchError

__all__ = ["replacing", "sha256", "write_text"]


def sha256(content: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` when the block ends (temporary file, fsync, rename).

    If the block raises, ``path`` stays as it was and nothing else is left.

    Raises:
        OSError: the folder cannot be made or written, the disk is full, or ``path`` is a device or the like.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no regular file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".making-{path.name}-")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        MibenchError: the folder cannot be written, or the disk is full.
    """
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise MibenchError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from None
