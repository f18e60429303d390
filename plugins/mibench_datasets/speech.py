"""A folder, zip or tar of wavs, each brought to one log-mel spectrogram of fixed length."""

from __future__ import annotations

import io
import math
import warnings
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from mibench import MEL, MibenchError, UsageError
from mibench_datasets.archives import Archive, FileDataset
from mibench_datasets.mel import HIFIGAN, SHORT, Mel

__all__ = ["SILENCE", "Speech", "cut", "decoded", "resampled"]

SILENCE = 1e-3
"""A clip whose values spread by less than ± this, of full scale 1, is silent (−60 dB)."""

RATES = 1000, 768_000
"""Sampling rates that are believed, in Hz."""

MELS: dict[str, Mel] = {"hifigan": HIFIGAN, "short": SHORT}


def decoded(data: bytes) -> tuple[int, NDArray[np.float64]]:
    """Sampling rate in Hz and samples (L,) of a wav.

    PCM of 8 to 64 bits is scaled to [−1, 1], floats are taken as they are, channels are averaged. scipy reads wavs itself, so
    that no further library is needed.

    Raises:
        ValueError: where it is no wav, is incomplete or empty, or holds values that are not finite.
    """
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)
        warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
        try:
            rate, values = wavfile.read(io.BytesIO(data))
        except wavfile.WavFileWarning:
            raise ValueError("is incomplete: it ends before the length that its header states") from None
        except Exception as error:  # damaged headers raise errors of every kind
            what = " ".join(str(error).split())[:100] or type(error).__name__
            raise ValueError(f"is no readable wav ({what})") from None
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"has a sampling rate of {rate} Hz, which no recording has")
    if not len(values):
        raise ValueError("holds no samples")
    wave = values.astype(np.float64)
    if values.dtype.kind == "u":
        wave = wave / 128 - 1
    elif values.dtype.kind == "i":
        wave /= 2.0 ** (8 * values.dtype.itemsize - 1)
    if wave.ndim == 2:
        wave = wave.mean(1)
    if not np.isfinite(wave).all():
        raise ValueError("holds values that are not finite")
    return rate, wave


def resampled(wave: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float64]:
    """A wave at another sampling rate, by a polyphase filter; what lay above half the lower rate is gone."""
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    if rate == wanted:
        return wave
    out: NDArray[np.float64] = resample_poly(wave, wanted // common, rate // common)
    return out


def cut(wave: NDArray[np.float64], length: int, place: float | None) -> NDArray[np.float64]:
    """A stretch of a wave of fixed length; what is missing of a shorter wave is zero.

    Args:
        wave: (L,).
        length: of the stretch, in samples.
        place: where it begins, from 0 to 1 of what is possible; None for around the centre of the energy, Σ i x² / Σ x².
    """
    spare = len(wave) - length
    if place is None:
        energy = wave**2
        start = round(float(np.arange(len(wave)) @ energy / energy.sum()) - length / 2)
    else:
        start = round(place * spare)
    start = min(max(start, min(0, spare)), max(0, spare))
    part = wave[max(start, 0) :][:length]
    out = np.zeros(length)
    out[max(-start, 0) :][: len(part)] = part
    return out


class Speech(FileDataset):
    """Wavs from a folder or archive as log-mel spectrograms: one stretch of fixed length of each, normalised."""

    name: ClassVar = "speech"
    version: ClassVar = 2
    modality = MEL
    recipe: ClassVar = {"network": "unet-tiny", "steps": 1000, "batch": 32, "ema": 0.99, "log_snr": (0.0, 2.0)}

    mel: Literal["hifigan", "short"] = Field(
        "short", description="short: 8 kHz, 40 bands, hop 16 ms; hifigan: 22 050 Hz, 80 bands, hop 11.6 ms"
    )
    frames: int = Field(32, ge=8, le=4096, description="length of an item, in hops")
    crop: Literal["energy", "random"] = Field(
        "energy", description="which stretch of a clip: around its energy, or drawn by the seed"
    )
    peak: bool = Field(True, description="whether each clip is scaled to a peak of 1")
    skip_broken: bool = Field(
        False, description="whether clips that are no wav, incomplete, silent or too short are passed over"
    )

    @property
    def transform(self) -> Mel:
        """From waves to items and back, for the ear."""
        return MELS[self.mel]

    def normalisation(self, members: Tensor) -> tuple[float, float]:
        """Mean and standard deviation of all values of the members, to which each member adds 1/M."""
        values = members.double()
        return values.mean().item(), values.std().item()

    def sound(self, x: Tensor) -> tuple[Tensor, int]:
        """By Griffin and Lim's method, no vocoder; louder waves than full scale are turned down."""
        waves, transform = self.transform.sound(x), self.transform
        return waves / waves.abs().amax(1, keepdim=True).clamp(min=1), transform.rate

    def counted(self, name: str) -> str | None:
        """Wavs."""
        return name if name.lower().endswith(".wav") else None

    def wavs(self, archive: Archive) -> list[str]:
        """The names of the clips.

        Raises:
            MibenchError: where there are none.
        """
        found = [name for name in archive.names if self.counted(name)]
        if not found:
            raise MibenchError(f"{archive.path} holds no .wav files ({len(archive.names)} others)")
        return found

    def item(self, data: bytes, place: float) -> Tensor:
        """The item of one wav, (1, bands, frames) float32.

        Raises:
            ValueError: saying what is wrong with the wav.
        """
        rate, wave = decoded(data)
        transform = self.transform
        if len(wave) / rate < transform.window / transform.rate:
            least = 1000 * transform.window / transform.rate
            raise ValueError(f"is too short: {1000 * len(wave) / rate:.3g} ms, less than a window of {least:.3g} ms")
        wave = resampled(wave, rate, transform.rate)
        if wave.max() - wave.min() < 2 * SILENCE:
            raise ValueError("is silent")
        if self.peak:
            wave = wave / np.abs(wave).max()
        stretch = cut(wave, self.frames * transform.hop, place if self.crop == "random" else None)
        return transform(torch.from_numpy(stretch)[None])[0]

    def pool(self, generator: torch.Generator) -> Tensor:
        """(N, 1, bands, frames): as many clips as are needed, drawn from all, one item each.

        Raises:
            UsageError: without a path, or where there are fewer clips than needed.
            MibenchError: naming the clip that cannot be used, or saying that there are none.
        """
        archive = self.archive()
        names = self.wavs(archive)
        needed = self.members + self.nonmembers + self.reference
        order = [names[k] for k in torch.randperm(len(names), generator=generator).tolist()]
        places = dict(zip(names, torch.rand(len(names), generator=generator).tolist(), strict=True))
        self._enough(len(names), needed, "clips")
        items: dict[str, Tensor] = {}
        skipped: list[str] = []
        while len(items) < needed and order:
            wanted, order = order[: needed - len(items)], order[needed - len(items) :]
            for name, data in archive.files(wanted):
                try:
                    items[name] = self.item(data, places[name])
                except ValueError as error:
                    if not self.skip_broken:
                        raise MibenchError(f"{archive.path}: {name} {error}; skip_broken=true passes over it") from None
                    skipped.append(f"{name} {error}")
        if skipped:
            tried = len(items) + len(skipped)
            warnings.warn(f"{archive.path}: {len(skipped)} of {tried} clips skipped: {skipped[0]}", stacklevel=2)
        self._enough(len(items), needed, f"usable clips, {len(skipped)} skipped")
        return torch.stack([items[name] for name in sorted(items)])

    def _enough(self, there: int, needed: int, what: str) -> None:
        if there < needed:
            raise UsageError(
                f"dataset {self.label}: members + nonmembers + reference = {needed}, but it holds {there} {what}; "
                "lower one of them, such as reference"
            )
