"""The artifact store: folders named by the digest of what made them. A folder that exists is complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mibench.errors import MibenchError, UsageError
from mibench.files import sha256, write_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KINDS", "Store", "default_root"]

KINDS = ("models", "partials", "scores", "samples", "features")
FORMAT = 1
"""Of the store's folders and files; a store of an older one would be read or upgraded here, a newer one is refused."""


def default_root() -> Path:
    """$MIBENCH_STORE, else ``mibench`` in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MIBENCH_STORE") or cache / "mibench").absolute()


class Store:
    """Artifacts under one root: ``models/``, ``partials/``, ``scores/``, ``samples/``, ``features/`` by key; ``logs/`` by job.

    ``format`` holds the number of its format.

    Args:
        root: the folder.
        write: whether it is made if it is not there, and must be writable; one that is only read need not even be there.

    Raises:
        UsageError: where it cannot be made, written or read, or has a format that this mibench does not know.
    """

    def __init__(self, root: Path, write: bool = True) -> None:
        self.root = root
        try:
            for name in (*KINDS, "logs") if write else ():
                (root / name).mkdir(parents=True, exist_ok=True)
            self._check_format(write)
            if write:
                with tempfile.TemporaryFile(dir=root):
                    pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            what = "written" if write else "read"
            raise UsageError(f"the store {root} cannot be {what}: {why}; choose another with --store") from None

    def _check_format(self, write: bool) -> None:
        """Refuse a store of another format; one without a number is new, or from before there were any, which is format 1."""
        path = self.root / "format"
        try:
            found = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            if write:
                write_text(path, f"{FORMAT}\n")
            return
        if found != str(FORMAT):
            newer = found.isdecimal() and found.isascii() and len(found) < 9 and int(found) > FORMAT
            what = f"is of format {found}, from a newer mibench" if newer else f"names no format in {path.name!r}"
            raise UsageError(
                f"the store {self.root} {what}; this one knows format {FORMAT}: "
                f"{'upgrade mibench' if newer else 'delete that file if it was damaged'}, or choose another with --store"
            )

    def folder(self, kind: str, key: str) -> Path:
        """Where an artifact is or would be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether an artifact is there."""
        return self.folder(kind, key).is_dir()

    def keys(self, kind: str, prefix: str) -> list[str]:
        """The keys of the artifacts that begin so, in no order."""
        names = [path.name for path in (self.root / kind).glob(f"{prefix}*") if path.suffix != ".corrupt"]
        return [name for name in names if not name.startswith(".making-")]

    def remove(self, kind: str, prefix: str) -> None:
        """Delete the artifacts whose keys begin so, with what was set aside or half made of them."""
        for path in (*(self.root / kind).glob(f"{prefix}*"), *(self.root / kind).glob(f".making-{prefix}*")):
            shutil.rmtree(path, ignore_errors=True)

    def meta(self, kind: str, key: str) -> dict[str, Any]:
        """The facts stored with an artifact; ``digest`` is the sha256 of its tensors.

        Raises:
            MibenchError: where it is corrupt; the artifact is then set aside, so that the next run makes it anew.
        """
        try:
            meta = json.loads((self.folder(kind, key) / "meta.json").read_bytes())
            body = {k: v for k, v in meta.items() if k != "seal"}
            if meta["seal"] != _seal(body) or not isinstance(meta["digest"], str):
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
        """Store an artifact whole: temporary folder, fsync, rename. One that is already there stays.

        Returns:
            The facts as stored, with ``digest``.
        """
        from safetensors.torch import save

        raw = save({name: value.contiguous().cpu() for name, value in tensors.items()})
        meta = {**meta, "digest": sha256(raw)}
        target = self.folder(kind, key)
        try:
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".making-{key}-"))
            try:
                for name, content in (
                    ("tensors.safetensors", raw),
                    ("meta.json", json.dumps({**meta, "seal": _seal(meta)}, indent=1, allow_nan=False).encode()),
                ):
                    with open(temporary / name, "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                for last in (False, True):
                    try:
                        os.rename(temporary, target)
                        return meta
                    except OSError:
                        if not target.is_dir() or last:
                            raise
                    with suppress(MibenchError):  # what is corrupt makes room
                        return self.meta(kind, key)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise MibenchError(
                f"cannot write to the store {self.root}: {error.strerror}; free space, then run again"
            ) from None
        raise AssertionError("unreachable")

    def _corrupt(self, kind: str, key: str, error: Exception) -> MibenchError:
        """Set an artifact aside, unless it is not its content that is wrong."""
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


def _seal(meta: dict[str, Any]) -> str:
    return sha256(json.dumps(meta, sort_keys=True).encode())
