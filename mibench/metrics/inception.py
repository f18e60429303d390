"""Inception features of images: the space whose Fréchet distance is the FID.

The network is pytorch-fid's InceptionV3, a port of the TensorFlow graph with which Heusel et al. (arXiv 1706.08500)
defined the FID, up to its final average pooling. Its weights are not part of this package, see `weights_file`, and are
downloaded only on request. Other weights give a space of another name.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from mibench.errors import MibenchError
from mibench.metrics.headings import FID_SPACE, REHEARSAL_SPACE

__all__ = ["SHA256", "SIDE", "Inception", "asked_for", "weights_file"]

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""sha256 of pytorch-fid's weights, 95 628 359 bytes."""

SIDE = 32
"""Pixels that images must have at least in height and width."""

VARIABLE, DOWNLOAD, REHEARSAL = "MIBENCH_INCEPTION", "download", "rehearsal"
"""The environment variable that names the file of weights, and its values for a download into torch's cache and for random
weights, with which a run can be rehearsed before the true ones are at hand."""


def asked_for() -> bool:
    """Whether the user has named weights or asked for their download; missing weights are then an error."""
    return bool(os.environ.get(VARIABLE))


class Inception:
    """2048 features of images in [-1, 1]: pytorch-fid's InceptionV3, its final average pooling.

    Images are clamped to [-1, 1], as in files. Grey ones are repeated in all three channels. All are resized to 299x299
    (bilinear, without antialiasing), as in pytorch-fid. The network runs in float32, with TF32 and autocast off. Batches of
    different sizes agree to rounding in float32.

    Args:
        weights: the file of weights; else as `weights_file`. If ``$MIBENCH_INCEPTION`` is "rehearsal", they are random, the
            same each time, and the space is named ``inception-2048-rehearsal``.
        device: where the network runs.
        batch: images per pass; each takes about 10 MB on the CPU.
        sha256: the digest of the weights. With another than pytorch-fid's the space is named
            ``inception-2048-<first 8 digits>`` and its distance is not the FID.

    Raises:
        MibenchError: pytorch-fid or torchvision is missing or does not load, or as `weights_file`, or the file holds no
            weights of this network.
        ValueError: batch below 1.
    """

    version = 1

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "cpu",
        batch: int = 50,
        sha256: str = SHA256,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        self.device, self.batch = torch.device(device), batch
        library = _library()
        if weights is None and os.environ.get(VARIABLE) == REHEARSAL:
            self.name, net = REHEARSAL_SPACE, _untrained(library)
        else:
            self.name = FID_SPACE if sha256 == SHA256 else f"{FID_SPACE}-{sha256[:8]}"
            net = _network(library, weights_file(weights, url=library.FID_WEIGHTS_URL, sha256=sha256))
        self._net = net.eval().to(self.device)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The features of images x, (B, C, H, W) to (B, 2048) float64 on the CPU.

        Raises:
            ValueError: x is not of shape (B, 1 or 3, H, W) with H and W of at least 32, or holds integers.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < SIDE:
            raise ValueError(f"images must have shape (B, 1 or 3, H, W) with H, W >= 32, not {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"images must be floating point in [-1, 1], not {x.dtype}")
        features = [torch.empty(0, 2048, dtype=torch.float64)]
        with torch.autocast(self.device.type, enabled=False), _no_tf32():
            for c in torch.split(x.detach(), self.batch) if len(x) else ():
                h = c.to(device=self.device, dtype=torch.float32).clamp(-1, 1).expand(-1, 3, -1, -1)
                features.append(self._net(h)[0].flatten(1).to(device="cpu", dtype=torch.float64))
        return torch.cat(features)


@contextmanager
def _no_tf32() -> Iterator[None]:
    """Convolutions on a GPU in full float32; afterwards as before."""
    cudnn: Any = torch.backends.cudnn
    conv = cudnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "ieee"
    try:
        yield
    finally:
        conv.fp32_precision = before


def weights_file(path: str | os.PathLike[str] | None = None, *, url: str, sha256: str = SHA256) -> Path:
    """The file of weights, its digest checked: the one given, else the one in torch's hub cache.

    Args:
        path: a file; without it ``$MIBENCH_INCEPTION``, where "download" stands for a download into torch's cache.
        url: of the weights; its last part is their name in the cache.
        sha256: the digest of the file.

    Raises:
        MibenchError: no such file, another digest, or the download fails; nothing is left half-written.
    """
    given = path or os.environ.get(VARIABLE)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    file = Path(given) if given and given != DOWNLOAD else cached
    if file is cached and not file.exists():
        if given != DOWNLOAD:
            raise MibenchError(f"no Inception weights at {file}; {VARIABLE} names a file, or says {DOWNLOAD!r}")
        _download(url, file, sha256)
        return file
    try:
        with open(file, "rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise MibenchError(
            f"the Inception weights {file} cannot be read: {error.strerror}; get them from {url}"
        ) from None
    if digest != sha256:
        raise MibenchError(
            f"{file}: sha256 {digest[:12]}… is not {sha256[:12]}…, that of the Inception weights from {url}"
        )
    return file


def _download(url: str, file: Path, sha256: str) -> None:
    """Download a file whole and checked, or leave nothing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=sha256, progress=False)
    except RuntimeError:
        raise MibenchError(f"{url}: the file that came has not the sha256 {sha256[:12]}…; try again") from None
    except (OSError, HTTPException) as error:
        raise MibenchError(
            f"the FID needs Inception weights, and {url} did not come ({error}): put the file at {file} or name it in {VARIABLE}"
        ) from None


def _library() -> Any:
    """The module ``pytorch_fid.inception``; MibenchError where it or torchvision is missing or does not load."""
    try:
        from pytorch_fid import inception
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise MibenchError(f"Inception features need more ({reason[:120]}): pip install 'mibench[fid]'") from None
    return inception


def _network(library: Any, file: Path) -> nn.Module:
    """InceptionV3 of pytorch-fid with the weights of a file; MibenchError where it holds none of this network.

    Its constructor downloads the weights, unchecked. Here it is given those of the file instead.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        with patch.object(library, "load_state_dict_from_url", lambda *_, **__: state):
            net: nn.Module = library.InceptionV3(normalize_input=False)
    except (OSError, EOFError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MibenchError(f"{file} holds no Inception weights: {reason[:120]}") from None
    return net


def _untrained(library: Any) -> nn.Module:
    """InceptionV3 of pytorch-fid with random weights that keep the scale from layer to layer (He, arXiv 1502.01852)."""
    blank: Any = patch.object(library, "load_state_dict_from_url", lambda *_, **__: {})
    with blank, patch("torchvision.models.Inception3.load_state_dict", lambda *_, **__: None):
        net: nn.Module = library.InceptionV3(normalize_input=False)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=chance)
    return net
