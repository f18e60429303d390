"""The Fréchet distance between two sets of features: the 2-Wasserstein distance, squared, of their Gaussian fits.

    d² = |m₁ - m₂|² + tr S₁ + tr S₂ - 2 tr (S₁ S₂)^½

Source: Heusel et al. (arXiv 1706.08500), after Dowson and Landau (1982). The last trace is the sum of the square roots
of the eigenvalues of the symmetric R S₁ R with R R = S₂: no square root of a non-symmetric matrix is taken, so that
rank-deficient covariances (few samples, many features) need no jitter. R depends on the second set alone: a
`Reference` holds it, and `cached_reference` keeps it from run to run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mibench.errors import MibenchError
from mibench.files import replacing

__all__ = ["Moments", "Reference", "cached_reference", "frechet", "frechet_distance", "frechet_to", "moments"]


class Moments:
    """Count, mean and covariance of feature vectors that come in batches, in float64 on the device of the first batch.

    Batches are joined by the update of Chan, Golub and LeVeque (1979), n = n_a + n_b and δ = m_b - m_a:

        m = m_a + δ n_b/n,    M = M_a + M_b + δ δᵀ n_a n_b/n

    where M is the sum of the centred squares. Nothing large is subtracted, so the result does not depend on the batches
    beyond rounding.

    Attributes:
        count: how many feature vectors were seen.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.empty(0, dtype=torch.float64)
        self._squares = torch.empty(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        """Take in a batch of features (B, D), B of any size; nothing is taken in where it raises.

        Raises:
            ValueError: another shape, another D than before, or a value that is not finite.
        """
        if features.ndim != 2 or features.shape[1] < 1:
            raise ValueError(f"features must have shape (N, D), not {tuple(features.shape)}")
        if self.count and features.shape[1] != len(self._mean):
            raise ValueError(f"features must have shape (N, {len(self._mean)}) as before, not {tuple(features.shape)}")
        n = len(features)
        if not n:
            return
        x = features.detach().to(device=self._mean.device if self.count else features.device, dtype=torch.float64)
        bad = ~torch.isfinite(x).all(1)
        if bool(bad.any()):
            raise ValueError(f"the features of {int(bad.sum())} of {n} samples are not finite")
        mean = x.mean(0)
        centred = x - mean
        squares = centred.T @ centred
        if self.count:
            total, step = self.count + n, mean - self._mean
            squares += self._squares + torch.outer(step, step) * (self.count * n / total)
            mean = self._mean + step * (n / total)
        self.count, self._mean, self._squares = self.count + n, mean, squares

    def result(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and the unbiased covariance (D, D) of what was seen, on the CPU.

        Raises:
            ValueError: fewer than 2 samples were seen.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, not {self.count}")
        return self._mean.cpu(), self._squares.cpu() / (self.count - 1)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the unbiased covariance (D, D) of N feature vectors, in float64 on the CPU.

    Args:
        features: (N, D), N of at least 2, finite.

    Raises:
        ValueError: another shape, fewer than 2 samples, or a value that is not finite.
    """
    whole = Moments()
    whole.update(features.cpu())
    return whole.result()


@dataclass(frozen=True)
class Reference:
    """What the distance needs of its second set, in float64 on the CPU: one eigendecomposition that need not be redone.

    Attributes:
        mean: (D,).
        root: (D, D), the symmetric square root of the covariance.
        trace: (), the trace of the covariance.
    """

    mean: Tensor
    root: Tensor
    trace: Tensor

    @classmethod
    def of(cls, mean: Tensor, cov: Tensor) -> Reference:
        """The reference of a mean (D,) and a covariance (D, D), positive semi-definite, of any rank.

        Raises:
            ValueError: the shapes disagree, or a value is not finite.
        """
        m, s = _checked(mean, cov)
        values, vectors = torch.linalg.eigh(s)
        return cls(m, (vectors * values.clamp_min(0).sqrt()) @ vectors.T, s.trace())


def cached_reference(folder: Path, digest: str, make: Callable[[], tuple[Tensor, Tensor]]) -> Reference:
    """The reference of this content: from the cache where it is there and whole, else made and put there.

    A file that is damaged, or that was made for other content, counts as absent and is replaced.

    Args:
        folder: the cache folder; made if it is not there. The file is ``<digest>.safetensors``.
        digest: sha256 (64 hexadecimal digits) of all that determines the statistics: the samples, and the name and the
            version of the feature space.
        make: the mean and the covariance, as `moments` gives them; called where the cache has none.

    Raises:
        ValueError: the digest is none, or as `Reference.of` for what ``make`` gives.
        MibenchError: the folder cannot be written.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"a digest has 64 hexadecimal digits, not {digest!r}")
    file = folder / f"{digest}.safetensors"
    try:
        with safe_open(file, framework="pt") as stored:
            found = Reference(*(stored.get_tensor(name) for name in ("mean", "root", "trace")))
            if (stored.metadata() or {}).get("seal") == _seal(digest, found):
                return found
    except (OSError, SafetensorError):
        pass
    made = Reference.of(*make())
    tensors = {"mean": made.mean, "root": made.root, "trace": made.trace}
    raw = save({name: x.contiguous() for name, x in tensors.items()}, {"seal": _seal(digest, made)})
    try:
        with replacing(file) as out:
            out.write(raw)
    except OSError as error:
        raise MibenchError(f"cannot write the reference statistics to {folder}: {error.strerror}") from None
    return made


def frechet_to(mean: Tensor, cov: Tensor, reference: Reference) -> float:
    """The distance of N(mean, cov) to a reference: `frechet_distance` with the second set's part already done.

    Args:
        mean: (D,).
        cov: (D, D), symmetric and positive semi-definite, of any rank.
        reference: of the same D.

    Raises:
        ValueError: the shapes disagree, or a value is not finite.
    """
    m, s = _checked(mean, cov)
    if len(m) != len(reference.mean):
        raise ValueError(f"the shapes disagree: {len(m)} features, and {len(reference.mean)} in the reference")
    cross = torch.linalg.eigvalsh(reference.root @ s @ reference.root).clamp_min(0).sqrt().sum()
    return max(0.0, float((m - reference.mean).square().sum() + s.trace() + reference.trace - 2 * cross))


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """The squared 2-Wasserstein distance of N(mean1, cov1) and N(mean2, cov2), 0 at least.

    Args:
        mean1: (D,).
        cov1: (D, D), symmetric and positive semi-definite, of any rank.
        mean2: (D,).
        cov2: (D, D), as cov1.

    Raises:
        ValueError: the shapes disagree, or a value is not finite.
    """
    return frechet_to(mean1, cov1, Reference.of(mean2, cov2))


def frechet(x_features: Tensor, y_features: Tensor) -> float:
    """The Fréchet distance between two sets of features, (N, D) and (M, D); it raises as the functions it joins."""
    return frechet_distance(*moments(x_features), *moments(y_features))


def _checked(mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """A mean (D,) and a covariance (D, D), finite, in float64 on the CPU."""
    d = len(mean) if mean.ndim == 1 else 0
    if d < 1 or cov.shape != (d, d):
        raise ValueError(f"moments must have shapes (D,) and (D, D), not {tuple(mean.shape)} and {tuple(cov.shape)}")
    m, s = (x.detach().to(device="cpu", dtype=torch.float64) for x in (mean, cov))
    if not (bool(torch.isfinite(m).all()) and bool(torch.isfinite(s).all())):
        raise ValueError("a mean or a covariance is not finite")
    return m, s


def _seal(digest: str, reference: Reference) -> str:
    """sha256 over a digest, the tensors and their shapes."""
    seal = hashlib.sha256(digest.encode())
    for x in (reference.mean, reference.root, reference.trace):
        seal.update(repr((tuple(x.shape), x.dtype)).encode())
        seal.update(x.contiguous().numpy().tobytes())
    return seal.hexdigest()
