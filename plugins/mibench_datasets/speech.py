"""A folder, zip or tar of wavs, each brought to one log-mel spectrogram of fixed length."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from mibench import MEL, FileDataset, FileReader, MibenchError, UsageError
from mibench.archives import Archive
from mibench_datasets.mel import HIFIGAN, SHORT, Mel

__all__ = ["Speech", "cut", "decoded", "file_facts", "resampled"]

SILENCE = 1e-3
"""A clip whose values spread by less than ± this, of full scale 1, is silent (−60 dB)."""

RATES = 1000, 768_000
"""The lowest and the highest sampling rate that is accepted, in Hz."""

MELS: dict[str, Mel] = {"hifigan": HIFIGAN, "short": SHORT}


def decoded(data: bytes) -> tuple[int, NDArray[np.float64]]:
    """Sampling rate in Hz and samples (L,) of a wav in [−1, 1], channels averaged.

    Raises:
        ValueError: where it is no wav, is incomplete or empty, or holds values that are not finite.
        MibenchError: without soundfile.
    """
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in ("WAV", "WAVEX"):
                raise ValueError(f"is no readable wav (its format is {file.format})")
            rate: int = file.samplerate
            channels: NDArray[np.float64] = file.read(dtype="float64", always_2d=True)
    except soundfile.LibsndfileError:
        raise ValueError("is no readable wav: it is damaged or of another format") from None
    if int.from_bytes(data[4:8], "little") > len(data) - 7:  # the length after these 8 bytes; some leave out a last 0
        raise ValueError("is incomplete: it ends before the length that its header states")
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"has a sampling rate of {rate} Hz, which no recording has")
    if not len(channels):
        raise ValueError("holds no samples")
    if not np.isfinite(channels).all():
        raise ValueError("holds values that are not finite")
    return rate, channels.mean(1)


def file_facts(data: bytes) -> dict[str, float]:
    """What a readable wav says besides its sound: rate, bit depth, channels, duration, and the bytes beside the samples."""
    with _soundfile().SoundFile(io.BytesIO(data)) as file:
        return {
            f"subtype {file.subtype}": 1.0,
            f"format {file.format}": 1.0,
            "log rate": math.log(file.samplerate),
            "log duration": math.log(file.frames / file.samplerate),
            "channels": file.channels,
            "log size": math.log(len(data)),
            "bytes a frame": len(data) / file.frames,
        }


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise MibenchError("speech needs soundfile: pip install 'mibench[speech]'") from None
    return soundfile


def resampled(wave: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float64]:
    """A wave at another sampling rate, by scipy's polyphase filter; what lay above half the lower rate is gone.

    torchaudio's resampling has a shorter filter: on spoken digits it differs by a tenth of the peak.
    """
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    if rate == wanted:
        return wave
    out: NDArray[np.float64] = resample_poly(wave, wanted // common, rate // common)
    return out


def cut(wave: NDArray[np.float64], length: int, place: float | None) -> NDArray[np.float64]:
    """A stretch of a wave of fixed length; a shorter wave is filled up with zeros.

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

    name = "speech"
    version = 2
    modality = MEL
    recipe = {"network": "unet-tiny", "steps": 1000, "batch": 32, "ema": 0.99, "log_snr": (0.0, 2.0)}

    mel: Literal["hifigan", "short"] = Field(
        "short", description="short: 8 kHz, 40 bands, hop 16 ms; hifigan: 22 050 Hz, 80 bands, hop 11.6 ms"
    )
    frames: int = Field(32, ge=8, le=4096, description="length of an item, in hops")
    crop: Literal["energy", "random"] = Field(
        "energy", description="which stretch of a clip: around its energy, or drawn by the seed"
    )
    peak: bool = Field(True, description="whether each clip is scaled to a peak of 1")
    skip_broken: bool = Field(
        False, description="whether clips that are no wav, incomplete, silent or too short are skipped"
    )

    @property
    def transform(self) -> Mel:
        """From waves to items and back."""
        return MELS[self.mel]

    def normalisation(self, members: Tensor) -> tuple[float, float]:
        """Mean and standard deviation of all values of the members, to which each member adds 1/M."""
        values = members.double()
        return values.mean().item(), values.std().item()

    def sound(self, x: Tensor) -> tuple[Tensor, int]:
        """By Griffin and Lim's method, no vocoder; waves louder than full scale are turned down."""
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
        return self.counted_names(archive, ".wav files")

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
        items = self._items(generator)
        return torch.stack([items[name] for name in sorted(items)])

    def file_facts(self, generator: torch.Generator) -> list[dict[str, float]]:
        """Rate, bit depth, channels, duration and size of each wav."""
        names = sorted(self._items(generator))
        facts = {name: file_facts(data) for name, data in self.archive().files(names)}
        return [facts[name] for name in names]

    def _items(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The items by the names of their clips; as many clips as are needed, drawn from all."""
        archive = self.archive()
        names = self.wavs(archive)
        needed = self.members + self.nonmembers + self.reference
        order = [names[k] for k in torch.randperm(len(names), generator=generator).tolist()]
        places = dict(zip(names, torch.rand(len(names), generator=generator).tolist(), strict=True))
        self._check_enough(len(names), needed, "clips")
        items: dict[str, Tensor] = {}
        skipped: list[str] = []
        while len(items) < needed and order:
            wanted, order = order[: needed - len(items)], order[needed - len(items) :]
            for name, data in archive.files(wanted):
                try:
                    items[name] = self.item(data, places[name])
                except ValueError as error:
                    if not self.skip_broken:
                        raise MibenchError(f"{archive.path}: {name} {error}; skip_broken=true skips it") from None
                    skipped.append(f"{name} {error}")
        if skipped:
            tried = len(items) + len(skipped)
            warnings.warn(f"{archive.path}: {len(skipped)} of {tried} clips skipped: {skipped[0]}", stacklevel=2)
        self._check_enough(len(items), needed, f"usable clips, {len(skipped)} skipped")
        return items

    def _check_enough(self, count: int, needed: int, what: str) -> None:
        if count < needed:
            raise UsageError(
                f"dataset {self.label}: members + nonmembers + reference = {needed}, but it holds {count} {what}; "
                "lower one of them, such as reference"
            )


class WavReader(FileReader, of=Speech):
    """Single wavs."""

    dataset: Speech

    def read(self, data: bytes) -> Tensor:
        """(1, bands, frames), not normalised; of a random stretch the one in the middle."""
        return self.dataset.item(data, 0.5)

    def describe(self, data: bytes) -> dict[str, float]:
        """See ``file_facts``."""
        return file_facts(data)
