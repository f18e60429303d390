"""Log-mel spectrograms as HiFi-GAN and Grad-TTS take them, and the way back by Griffin–Lim; torchaudio does the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from mibench import MibenchError

__all__ = ["HIFIGAN", "SHORT", "Mel"]


@dataclass(frozen=True)
class Mel:
    """One way to take a log-mel spectrogram of a wave in [−1, 1].

    Frames are Hann windows of ``window`` samples every ``hop``. The wave is padded by reflection with (window − hop) / 2
    samples on both sides, as HiFi-GAN does, so that L samples give L / hop frames.

    Attributes:
        rate: samples per second that the wave must have.
        window: samples per frame, also the length of the Fourier transform.
        hop: samples from frame to frame.
        bands: filters, spaced evenly on Slaney's scale, of area 1 over Hz.
        low, high: the ends of the lowest and of the highest filter, in Hz.
        log: "clamp" for ln max(m, floor), "add" for log₁₀(m + floor).
        floor: the smallest magnitude that is told from 0.
    """

    rate: int
    window: int
    hop: int
    bands: int
    low: float
    high: float
    log: Literal["clamp", "add"]
    floor: float

    @cached_property
    def _power(self) -> Any:
        with _double() as transforms:
            return transforms.Spectrogram(self.window, hop_length=self.hop, power=2, center=False)

    @cached_property
    def _scale(self) -> dict[str, Any]:
        return {
            "n_mels": self.bands, "sample_rate": self.rate, "f_min": self.low, "f_max": self.high,
            "n_stft": self.window // 2 + 1, "norm": "slaney", "mel_scale": "slaney",
        }  # fmt: skip

    @cached_property
    def _filters(self) -> Any:
        with _double() as transforms:
            return transforms.MelScale(**self._scale)

    def magnitude(self, wave: Tensor) -> Tensor:
        """√(re² + im² + 1e-9) of waves (B, L) float64, (B, window / 2 + 1, L / hop)."""
        pad = (self.window - self.hop) // 2
        padded = functional.pad(wave[:, None], (pad, pad), mode="reflect")[:, 0]
        power: Tensor = self._power(padded)
        return (power + 1e-9).sqrt()

    def __call__(self, wave: Tensor) -> Tensor:
        """The log-mel spectrogram as published, not normalised.

        Args:
            wave: (B, L) samples in [−1, 1] at ``rate``.

        Returns:
            (B, 1, bands, L / hop) float32.
        """
        mel: Tensor = self._filters(self.magnitude(wave.double()))
        log = mel.clamp(min=self.floor).log() if self.log == "clamp" else (mel + self.floor).log10()
        return log.float()[:, None]

    def undo(self, items: Tensor) -> Tensor:
        """Mel magnitudes from items (B, 1, bands, T), (B, bands, T) float64, none below 0."""
        log = items[:, 0].double()
        return log.exp() if self.log == "clamp" else (10**log - self.floor).clamp(min=0)

    def sound(self, items: Tensor) -> Tensor:
        """Waves with about these spectrograms, for the ear: Griffin and Lim 1984 from phase 0, no vocoder.

        Args:
            items: (B, 1, bands, T).

        Returns:
            (B, T · hop) float32 at ``rate``, with half a hop of silence at both ends.
        """
        with _double() as transforms:
            magnitudes = transforms.InverseMelScale(**self._scale)(self.undo(items))
            waves = transforms.GriffinLim(self.window, hop_length=self.hop, power=1, rand_init=False)(magnitudes)
        return functional.pad(waves, (self.hop // 2, self.hop - self.hop // 2)).float()


@contextmanager
def _double() -> Iterator[Any]:
    """``torchaudio.transforms``. Inside, they make their windows and filters in float64.

    In float32, the default, mels differ by up to 6e-6, and so would the splits' fingerprints.

    Raises:
        MibenchError: where torchaudio is missing or does not load beside this torch.
    """
    try:
        from torchaudio import transforms
    except (ImportError, OSError, RuntimeError, AttributeError):
        fits = ".".join(torch.__version__.split(".")[:2])
        raise MibenchError(
            f"speech needs torchaudio {fits} beside torch {fits}; for a pair that fits: pip install 'mibench[speech]'"
        ) from None
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield transforms
    finally:
        torch.set_default_dtype(before)


HIFIGAN = Mel(22050, 1024, 256, 80, 0.0, 8000.0, "clamp", 1e-5)
"""HiFi-GAN (2010.05646) and Grad-TTS (2105.06337), for LJ Speech."""

SHORT = Mel(8000, 256, 128, 40, 60.0, 4000.0, "add", 1e-4)
"""For short clips at 8 kHz, such as spoken digits: 32 frames are half a second."""
