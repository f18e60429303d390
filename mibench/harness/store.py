"""The artifact store: folders named by the digest of what made them. A folder that exists is complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mibench.errors import MibenchError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Store", "default_root"]


def default_root() -> Path:
    """$MIBENCH_STORE, else ``mibench`` in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MIBENCH_STORE") or cache / "mibench")


class Store:
    """Artifacts under one root: ``models/``, ``partials/``, ``scores/``, ``samples/``, ``features/`` by key; ``logs/`` by job.

    Args:
        root: the folder; made if it is not there.

    Raises:
        UsageError: where it cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in ("models", "partials", "scores", "samples", "features", "logs"):
                (root / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise UsageError(
                f"the store {root} cannot be written: {error.strerror}; choose another with --store"
            ) from None

    def folder(self, kind: str, key: str) -> Path:
        """Where an artifact is or would be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether an artifact is there."""
        return self.folder(kind, key).is_dir()

    def keys(self, kind: str, prefix: str) -> list[str]:
        """The keys of the artifacts that begin so, in no order."""
        return [path.name for path in (self.root / kind).glob(f"{prefix}*") if path.suffix != ".corrupt"]

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
            meta = json.loads((self.folder(kind, key) / "meta.json").read_text())
            body = {k: v for k, v in meta.items() if k != "seal"}
            if meta["seal"] != _seal(body):
                raise ValueError("its facts were changed")
            return body
        except (OSError, ValueError, KeyError, TypeError) as error:
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
            if hashlib.sha256(raw).hexdigest() != meta["digest"]:
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
        meta = {**meta, "digest": hashlib.sha256(raw).hexdigest()}
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
                try:
                    os.rename(temporary, target)
                except OSError:
                    if not target.is_dir():
                        raise
                    return self.meta(kind, key)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise MibenchError(
                f"cannot write to the store {self.root}: {error.strerror}; free space, then run again"
            ) from None
        return meta

    def _corrupt(self, kind: str, key: str, error: Exception) -> MibenchError:
        folder = self.folder(kind, key)
        aside = folder.with_name(f"{key}.corrupt")
        if folder.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
            try:
                os.rename(folder, aside)
            except OSError:
                return MibenchError(f"{folder} is corrupt ({error}) and cannot be set aside; delete it and run again")
        return MibenchError(
            f"{folder} was corrupt ({str(error)[:80]}) and is set aside as {aside.name}; run again to remake it"
        )


def _seal(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
