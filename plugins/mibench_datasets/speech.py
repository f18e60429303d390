"""A folder, zip or tar of wavs, each brought to one log-mel spectrogram of fixed length."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from mibench import MEL, FileDataset, FileReader, MibenchError, UsageError
from mibench.archives import Archive
from mibench_datasets.mel import HIFIGAN, SHORT, Mel
from mibench_datasets.transcripts import DIGITS, Clip, Residuals, residuals
from mibench_datasets.wavs import cut, decoded, file_facts, resampled, start_of

__all__ = ["Speech"]

SILENCE = 1e-3
"""A clip whose values spread by less than ± this, of full scale 1, is silent (−60 dB)."""

Read = TypeVar("Read")

MELS: dict[str, Mel] = {"hifigan": HIFIGAN, "short": SHORT}


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
    text: Literal["none", "small", "published"] = Field(
        "none",
        exclude_if=lambda size: size == "none",
        description="the size of a text encoder: then items are what mels differ by from the mean that their text gives, under "
        "which networks answer (arXiv 2105.06337); texts are the digits that names of files begin with",
    )

    durations: Literal["spoken", "predicted"] = Field(
        "spoken",
        exclude_if=lambda how: how == "spoken",
        description="of the texts that samples are generated from: as the non-members speak them, or as the encoder predicts "
        "them for the texts of the reference, which gives each text one mean and so needs many different texts",
    )

    @field_validator("text")
    @classmethod
    def _without_canaries(cls, size: str, known: ValidationInfo) -> str:
        if size != "none" and known.data.get("canaries"):
            raise ValueError("canaries have no text; leave out one of the two")
        return size

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
        wave = self._wave(data)
        stretch = cut(wave, self.frames * self.transform.hop, place if self.crop == "random" else None)
        return self.transform(torch.from_numpy(stretch)[None])[0]

    def clip(self, data: bytes, place: float, text: str) -> Clip:
        """A whole wav with its text; one that is shorter than an item is filled up with silence.

        Raises:
            ValueError: saying what is wrong with the wav or the text.
        """
        wave, hop = self._wave(data), self.transform.hop
        length = hop * max(self.frames, math.ceil(len(wave) / hop))
        padded = cut(wave, length, None if len(wave) < self.frames * hop else 0.0)
        start = start_of(padded, self.frames * hop, place if self.crop == "random" else None) // hop
        return Clip.of(self.transform(torch.from_numpy(padded)[None]), start, text, math.ceil(len(wave) / hop))

    def _wave(self, data: bytes) -> NDArray[np.float64]:
        """The samples of one wav at the rate of the mels; ValueError, saying what is wrong with it."""
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
        return wave

    def transcripts(self, archive: Archive) -> dict[str, str]:
        """The text of each clip by its name: the digit that the file's name begins with.

        Raises:
            MibenchError: naming a clip without a text.
        """
        names = self.wavs(archive)
        if strange := [name for name in names if not "0" <= name.rpartition("/")[2][:1] <= "9"]:
            raise MibenchError(
                f"{archive.path}: {strange[0]} has no text: its name does not begin with a digit, such as 7_jackson_0.wav"
            )
        return {name: DIGITS[int(name.rpartition("/")[2][0])] for name in names}

    def fixed_split(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor] | None:
        """With texts, the residuals of an encoder that is trained on the reference; else None."""
        if self.text == "none":
            return None
        sizes = [self.members, self.nonmembers, self.reference]
        members, nonmembers, reference = torch.split(_residuals(self, generator.initial_seed()).items, sizes)
        return members, nonmembers, reference

    def conditions(self, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """With texts, the means μ of the items, and those that samples are generated from."""
        if self.text == "none":
            return None
        made = _residuals(self, generator.initial_seed())
        spoken = made.conditions[self.members : self.members + self.nonmembers]
        return made.conditions, spoken if self.durations == "spoken" else made.prompts

    def complete(self, x: Tensor, conditions: Tensor) -> Tensor:
        """Q + μ: mels."""
        return x + conditions

    def clips(self, generator: torch.Generator) -> list[Clip]:
        """As many clips with texts as are needed, drawn from all, in random order.

        Raises:
            UsageError, MibenchError: as ``pool``.
        """
        texts = self.transcripts(self.archive())
        found = self._read(generator, lambda name, data, place: self.clip(data, place, texts[name]))
        names = sorted(found)
        return [found[names[k]] for k in torch.randperm(len(names), generator=generator).tolist()]

    def pool(self, generator: torch.Generator) -> Tensor:
        """(N, 1, bands, frames): as many clips as are needed, drawn from all, one item each.

        Raises:
            UsageError: without a path, or where there are fewer clips than needed.
            MibenchError: naming the clip that cannot be used, or saying that there are none.
        """
        items = self._items(generator)
        return torch.stack([items[name] for name in sorted(items)])

    def file_facts(self, generator: torch.Generator) -> list[dict[str, float]] | None:
        """Rate, bit depth, channels, duration and size of each wav; with texts none, since the split is another one."""
        if self.text != "none":
            return None
        names = sorted(self._items(generator))
        facts = {name: file_facts(data) for name, data in self.archive().files(names)}
        return [facts[name] for name in names]

    def _items(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The items by the names of their clips; as many clips as are needed, drawn from all."""
        return self._read(generator, lambda name, data, place: self.item(data, place))

    def _read(self, generator: torch.Generator, read: Callable[[str, bytes, float], Read]) -> dict[str, Read]:
        """What ``read`` makes of clips, by their names, given name, content and place; as many as are needed."""
        archive = self.archive()
        names = self.wavs(archive)
        needed = self.members + self.nonmembers + self.reference
        order = [names[k] for k in torch.randperm(len(names), generator=generator).tolist()]
        places = dict(zip(names, torch.rand(len(names), generator=generator).tolist(), strict=True))
        self._check_enough(len(names), needed, "clips")
        items: dict[str, Read] = {}
        skipped: list[str] = []
        while len(items) < needed and order:
            wanted, order = order[: needed - len(items)], order[needed - len(items) :]
            for name, data in archive.files(wanted):
                try:
                    items[name] = read(name, data, places[name])
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
    """Single wavs; UsageError for options that concern many."""

    dataset: Speech

    def __init__(self, dataset: Speech) -> None:
        super().__init__(dataset)
        for name in ("skip_broken", "text"):
            if getattr(dataset, name) != type(dataset).model_fields[name].default:
                raise UsageError(f"dataset {dataset.label}: leave out {name}; wavs are read one by one here")

    def read(self, data: bytes) -> Tensor:
        """(1, bands, frames), not normalised; of a random stretch the one in the middle."""
        return self.dataset.item(data, 0.5)

    def describe(self, data: bytes) -> dict[str, float]:
        """See ``file_facts``."""
        return file_facts(data)


@functools.lru_cache(maxsize=4)
def _residuals(dataset: Speech, seed: int) -> Residuals:
    """The residuals of a dataset with texts, members first, then non-members, then the reference."""
    clips = dataset.clips(torch.Generator().manual_seed(seed))
    return residuals(clips, dataset.reference, dataset.frames, dataset.text, seed)
