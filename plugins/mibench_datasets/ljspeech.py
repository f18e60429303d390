"""A corpus in the layout of LJ Speech: ``metadata.csv`` and ``wavs/<id>.wav``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mibench import MibenchError
from mibench.archives import Archive
from mibench_datasets.speech import Speech

__all__ = ["LJSpeech"]

METADATA = "metadata.csv"


class LJSpeech(Speech):
    """LJ Speech, or any corpus in its layout, as log-mel spectrograms as HiFi-GAN and Grad-TTS take them."""

    name = "ljspeech"
    title = "LJ Speech"
    version = 2
    paper = "Ito and Johnson 2017; arXiv 2010.05646, 2105.06337"
    recipe = {**Speech.recipe, "batch": 16}

    mel: Literal["hifigan", "short"] = Field(
        "hifigan", description="hifigan: 22 050 Hz, 80 bands, hop 11.6 ms; short: 8 kHz, 40 bands, hop 16 ms"
    )
    crop: Literal["energy", "random"] = Field(
        "random", description="which stretch of a clip: around its energy, or drawn by the seed"
    )
    peak: bool = Field(False, description="whether each clip is scaled to a peak of 1")

    def counted(self, name: str) -> str | None:
        """The list and the wavs, by their names below the folder of the corpus."""
        parts = name.split("/")
        if parts[-1] == METADATA:
            return METADATA
        return "/".join(parts[parts.index("wavs") :]) if "wavs" in parts[:-1] else None

    def wavs(self, archive: Archive) -> list[str]:
        """The clips that ``metadata.csv`` lists; others do not count.

        Raises:
            MibenchError: see ``_listed``.
        """
        return list(self._listed(archive))

    def transcripts(self, archive: Archive) -> dict[str, str]:
        """The normalised text of each clip that ``metadata.csv`` lists, or its text where that is empty.

        Raises:
            MibenchError: see ``_listed``; and naming a wav that is not listed, which has no text.
        """
        texts = self._listed(archive)
        wavs = [name for name in archive.names if name.lower().endswith(".wav") and self.counted(name)]
        if others := sorted(set(wavs) - set(texts)):
            raise MibenchError(f"{archive.path}: {len(others)} wavs have no text in {METADATA}, such as {others[0]}")
        return texts

    def _listed(self, archive: Archive) -> dict[str, str]:
        """The texts of lines of ``id|text|normalised text`` by the names of their wavs.

        Raises:
            MibenchError: naming what is missing, or the line that is malformed or repeats an earlier one.
        """
        lists = [name for name in archive.names if name.split("/")[-1] == METADATA]
        if len(lists) != 1:
            count = f"{len(lists)} files" if lists else "no file"
            raise MibenchError(
                f"{archive.path} holds {count} {METADATA}; the layout of LJ Speech has one, beside wavs/"
            )
        folder = lists[0].removesuffix(METADATA)
        try:
            lines = archive.read(lists[0]).decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise MibenchError(f"{archive.path}: {lists[0]} is not UTF-8 ({error.reason})") from None
        names: dict[str, int] = {}
        texts: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            clip, *text = line.split("|")
            name = f"{folder}wavs/{clip}.wav"
            if not clip.strip() or not 1 <= len(text) <= 2:
                raise MibenchError(f"{archive.path}: {lists[0]} line {number} is not id|text|normalised text")
            if name in names:
                raise MibenchError(f"{archive.path}: {lists[0]} line {number} repeats {clip!r} of line {names[name]}")
            names[name], texts[name] = number, text[-1].strip() or text[0]
        known = set(archive.names)
        missing = [name for name in names if name not in known]
        if missing:
            raise MibenchError(f"{archive.path}: {len(missing)} of {len(names)} wavs are missing, such as {missing[0]}")
        if not names:
            raise MibenchError(f"{archive.path}: {lists[0]} lists no clips")
        return texts
