"""Log-mel spectrograms as HiFi-GAN and Grad-TTS take them, in closed form, and the way back by Griffin–Lim.

Neither librosa nor torchaudio is needed: the filterbank is Slaney's formula, the rest is a Fourier transform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["HIFIGAN", "SHORT", "Mel", "hertz_to_mel", "mel_to_hertz"]

KNEE, STEP = 1000.0, math.log(6.4) / 27
"""Slaney's scale is linear up to 1000 Hz (15 mel), with a step of log(6.4)/27 above."""


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """Slaney's mel scale (Auditory Toolbox, 1998), librosa's default: 3 f / 200 up to 1000 Hz, logarithmic above."""
    return torch.where(hertz < KNEE, 3 * hertz / 200, 15 + (hertz.clamp(min=KNEE) / KNEE).log() / STEP)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """The inverse of ``hertz_to_mel``."""
    return torch.where(mel < 15, 200 * mel / 3, KNEE * (STEP * (mel - 15)).exp())


@dataclass(frozen=True)
class Mel:
    """One way to take a log-mel spectrogram of a wave in [−1, 1].

    Frames are Hann windows of ``window`` samples every ``hop``; the wave is padded by reflection with (window − hop) / 2
    samples on both sides, as HiFi-GAN does, so that L samples give L / hop frames.

    Attributes:
        rate: samples per second that the wave must have.
        window: samples per frame, also the length of the Fourier transform.
        hop: samples from frame to frame.
        bands: filters, spaced evenly on Slaney's scale.
        low, high: the ends of the lowest and of the highest filter, in Hz.
        log: "clamp" for ln max(m, floor), "add" for log₁₀(m + floor).
        floor: the magnitude below which nothing is told apart.
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
    def filters(self) -> Tensor:
        """(bands, window / 2 + 1) float64: triangles between neighbours on the mel scale, of area 1 over Hz (Slaney)."""
        ends = hertz_to_mel(torch.tensor([self.low, self.high], dtype=torch.float64))
        steps = torch.linspace(0, 1, self.bands + 2, dtype=torch.float64)
        corners = mel_to_hertz(ends[0] + (ends[1] - ends[0]) * steps)
        left, centre, right = (corners[k : k + self.bands, None] for k in range(3))
        hertz = torch.arange(self.window // 2 + 1, dtype=torch.float64) * self.rate / self.window
        rise, fall = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
        return torch.minimum(rise, fall).clamp(min=0) * 2 / (right - left)

    @cached_property
    def _hann(self) -> Tensor:
        return torch.hann_window(self.window, dtype=torch.float64)

    def magnitude(self, wave: Tensor) -> Tensor:
        """√(re² + im² + 1e-9) of waves (B, L) float64, (B, window / 2 + 1, L / hop)."""
        pad = (self.window - self.hop) // 2
        padded = functional.pad(wave[:, None], (pad, pad), mode="reflect")[:, 0]
        spectrum = torch.stft(padded, self.window, self.hop, window=self._hann, center=False, return_complex=True)
        return (torch.view_as_real(spectrum).square().sum(-1) + 1e-9).sqrt()

    def __call__(self, wave: Tensor) -> Tensor:
        """The log-mel spectrogram as published, not normalised.

        Args:
            wave: (B, L) samples in [−1, 1] at ``rate``.

        Returns:
            (B, 1, bands, L / hop) float32.
        """
        mel = self.filters @ self.magnitude(wave.double())
        log = mel.clamp(min=self.floor).log() if self.log == "clamp" else (mel + self.floor).log10()
        return log.float()[:, None]

    def undo(self, items: Tensor) -> Tensor:
        """Mel magnitudes from items (B, 1, bands, T), (B, bands, T) float64, none below 0."""
        log = items[:, 0].double()
        return log.exp() if self.log == "clamp" else (10**log - self.floor).clamp(min=0)

    def sound(self, items: Tensor, rounds: int = 32) -> Tensor:
        """Waves with about these spectrograms, for the ear: Griffin and Lim 1984, no vocoder.

        The magnitudes are the non-negative ones that the filters take nearest to the mels, by multiplicative updates
        (Lee and Seung 1999); the phases begin at random, by a fixed seed.

        Args:
            items: (B, 1, bands, T).
            rounds: passes between wave and spectrum.

        Returns:
            (B, T · hop) float32 at ``rate``, with half a hop of silence at both ends.
        """
        mel, filters = self.undo(items), self.filters
        size = torch.ones(len(mel), filters.shape[1], mel.shape[2], dtype=torch.float64)
        for _ in range(50):
            size = size * (filters.mT @ mel) / (filters.mT @ (filters @ size)).clamp(min=1e-12)
        phase = 2 * math.pi * torch.rand(size.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        spectrum = torch.polar(size, phase)
        for _ in range(rounds):
            again = torch.stft(
                self._wave(spectrum), self.window, self.hop, window=self._hann, pad_mode="constant", return_complex=True
            )
            spectrum = torch.polar(size, again.angle())
        return functional.pad(self._wave(spectrum), (self.hop // 2, self.hop - self.hop // 2)).float()

    def _wave(self, spectrum: Tensor) -> Tensor:
        """The wave of least squared distance to a spectrum, (B, (T − 1) · hop)."""
        return torch.istft(spectrum, self.window, self.hop, window=self._hann)


HIFIGAN = Mel(22050, 1024, 256, 80, 0.0, 8000.0, "clamp", 1e-5)
"""HiFi-GAN (2010.05646) and Grad-TTS (2105.06337), for LJ Speech."""

SHORT = Mel(8000, 256, 128, 40, 60.0, 4000.0, "add", 1e-4)
"""For short clips at 8 kHz, such as spoken digits: 32 frames are half a second."""
