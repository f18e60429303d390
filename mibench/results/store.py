"""The artifact store: folders named by the digest of what made them. A folder that exists is complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any

from mibench.errors import MibenchError, UsageError
from mibench.files import replacing, sha256, write_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KINDS", "Store", "default_root", "seal"]

KINDS = ("models", "partials", "scores", "samples", "features")
FORMAT = 1
"""The format of the store's folders and files."""


def default_root() -> Path:
    """$MIBENCH_STORE, else ``mibench`` in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MIBENCH_STORE") or cache / "mibench").absolute()


class Store:
    """Artifacts in folders by kind and key, such as ``models/<key>/``; logs by job; and a file ``format`` with FORMAT.

    Args:
        root: the folder.
        write: whether the folder must be writable, and is made where it is missing. A store that is only read may be missing.

    Raises:
        UsageError: where it cannot be made, written or read, or has another format.
    """

    def __init__(self, root: Path, write: bool = True) -> None:
        self.root = root
        try:
            for name in (*KINDS, "logs") if write else ():
                (root / name).mkdir(parents=True, exist_ok=True)
            self._check_format(write)
            if write:
                with TemporaryFile(dir=root):
                    pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            what = "written" if write else "read"
            raise UsageError(f"the store {root} cannot be {what}: {why}; choose another with --store") from None

    def _check_format(self, write: bool) -> None:
        """Refuse another format. A store without a number is new, or older than the numbers, which is format 1."""
        path = self.root / "format"
        try:
            number = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            if write:
                write_text(path, f"{FORMAT}\n")
            return
        if number != str(FORMAT):
            raise UsageError(
                f"the store {self.root} is of format {number[:20]!r}, and this mibench reads format {FORMAT}; upgrade "
                "mibench, or choose another store with --store"
            )

    def folder(self, kind: str, key: str) -> Path:
        """Where an artifact is or would be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether an artifact is stored."""
        return self.folder(kind, key).is_dir()

    def keys(self, kind: str, prefix: str) -> list[str]:
        """The keys of the artifacts that begin with a prefix, in any order."""
        names = [path.name for path in (self.root / kind).glob(f"{prefix}*") if path.suffix != ".corrupt"]
        return [name for name in names if not name.startswith(".making-")]

    def remove(self, kind: str, prefix: str) -> None:
        """Delete the artifacts whose keys begin with a prefix, with corrupt and half-written ones."""
        for path in (*(self.root / kind).glob(f"{prefix}*"), *(self.root / kind).glob(f".making-{prefix}*")):
            shutil.rmtree(path, ignore_errors=True)

    def meta(self, kind: str, key: str) -> dict[str, Any]:
        """The facts stored with an artifact; ``digest`` is the sha256 of its tensors.

        Raises:
            MibenchError: where it is corrupt. It is then set aside, and the next run makes it anew.
        """
        try:
            meta = json.loads((self.folder(kind, key) / "meta.json").read_bytes())
            body = {k: v for k, v in meta.items() if k != "seal"}
            if meta["seal"] != seal(body) or not isinstance(meta["digest"], str):
                raise ValueError("its facts were changed")
            return body
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._corrupt(kind, key, error) from None

    def load(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and facts of an artifact, the digest checked.

        Raises:
            MibenchError: where it is corrupt, as in ``meta``.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        meta = self.meta(kind, key)
        try:
            raw = (self.folder(kind, key) / "tensors.safetensors").read_bytes()
            if sha256(raw) != meta["digest"]:
                raise ValueError("the digest of its tensors differs")
            return load(raw), meta
        except (OSError, ValueError, SafetensorError) as error:
            raise self._corrupt(kind, key, error) from None

    def save(self, kind: str, key: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> dict[str, Any]:
        """Store an artifact, whole or not at all: it is written to a temporary folder, which is then renamed.

        Where the artifact is stored already, as by another process, that one is kept.

        Returns:
            The facts as stored, with ``digest``.

        Raises:
            MibenchError: where the store cannot be written, or the disk is full.
        """
        from safetensors.torch import save

        raw = save({name: value.contiguous().cpu() for name, value in tensors.items()})
        meta = {**meta, "digest": sha256(raw)}
        facts = json.dumps({**meta, "seal": seal(meta)}, indent=1, allow_nan=False).encode()
        try:
            with TemporaryDirectory(
                dir=self.root / kind, prefix=f".making-{key}-", ignore_cleanup_errors=True
            ) as folder:
                for name, content in (("tensors.safetensors", raw), ("meta.json", facts)):
                    with replacing(Path(folder, name)) as file:
                        file.write(content)
                return self._move(folder, kind, key) or meta
        except OSError as error:
            raise MibenchError(
                f"cannot write to the store {self.root}: {error.strerror}; free space, then run again"
            ) from None

    def _move(self, folder: str, kind: str, key: str) -> dict[str, Any] | None:
        """Move a finished folder to its place; the facts of the artifact there, if a whole one is."""
        target = self.folder(kind, key)
        try:
            os.rename(folder, target)
            return None
        except OSError:
            if not target.is_dir():
                raise
        with suppress(MibenchError):  # a corrupt one is set aside
            return self.meta(kind, key)
        os.rename(folder, target)
        return None

    def _corrupt(self, kind: str, key: str, error: Exception) -> MibenchError:
        """Set a corrupt artifact aside, but not one that is missing or cannot be read."""
        folder, why = self.folder(kind, key), str(getattr(error, "strerror", None) or error)[:80]
        aside = folder.with_name(f"{key}.corrupt")
        if not folder.is_dir():
            return MibenchError(f"{folder} is gone from the store; run again to remake it")
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
            return MibenchError(f"cannot read {folder}: {why}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            os.rename(folder, aside)
        except OSError:
            return MibenchError(f"{folder} is corrupt ({why}) and cannot be set aside; delete it and run again")
        return MibenchError(f"{folder} was corrupt ({why}) and is set aside as {aside.name}; run again to remake it")


def seal(meta: dict[str, Any]) -> str:
    """The sha256 of an artifact's facts, by which an edit of them is noticed."""
    return sha256(json.dumps(meta, sort_keys=True).encode())
