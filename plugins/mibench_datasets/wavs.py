"""Reading wavs: their samples, their facts, other rates, and stretches of them."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench import MibenchError

__all__ = ["cut", "decoded", "file_facts", "resampled", "start_of"]

RATES = 1000, 768_000
"""The lowest and the highest sampling rate that is accepted, in Hz."""


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


def start_of(wave: NDArray[np.float64], length: int, place: float | None) -> int:
    """Where a stretch of fixed length begins; below 0 where the wave is shorter. For the arguments see ``cut``."""
    spare = len(wave) - length
    if place is None:
        energy = wave**2
        start = round(float(np.arange(len(wave)) @ energy / energy.sum()) - length / 2)
    else:
        start = round(place * spare)
    return min(max(start, min(0, spare)), max(0, spare))


def cut(wave: NDArray[np.float64], length: int, place: float | None) -> NDArray[np.float64]:
    """A stretch of a wave of fixed length; a shorter wave is filled up with zeros.

    Args:
        wave: (L,).
        length: of the stretch, in samples.
        place: where it begins, from 0 to 1 of what is possible; None for around the centre of the energy, Σ i x² / Σ x².
    """
    start = start_of(wave, length, place)
    part = wave[max(start, 0) :][:length]
    out = np.zeros(length)
    out[max(-start, 0) :][: len(part)] = part
    return out
