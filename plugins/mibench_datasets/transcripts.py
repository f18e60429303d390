"""Clips with their texts as residuals q = mel − μ, where μ is what a text encoder says of the text (Grad-TTS, 2105.06337)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mibench.files import replacing
from mibench.results.store import default_root
from mibench_datasets.alignment import Encoder, Size, encoded, mean_mels, spoken, train_encoder

__all__ = ["DIGITS", "SIZES", "Clip", "Residuals", "residuals"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SIZES = {"small": Size(64, 2, 2, 600, 16), "published": Size(192, 6, 2, 20_000, 16)}


@dataclass(frozen=True)
class Clip:
    """A sound with its text.

    Attributes:
        mel: (F, bands), the whole clip.
        start: the first frame of the item that is cut from it.
        text: (S,) symbols, S ≤ F.
    """

    mel: Tensor
    start: int
    text: Tensor

    @classmethod
    def of(cls, mel: Tensor, start: int, text: str, sounding: int) -> Clip:
        """A clip of a mel (1, 1, bands, F), of which so many frames are the sound itself, and a text.

        Raises:
            ValueError: where the text has unknown characters, or more symbols than the sound has frames.
        """
        symbols = encoded(text)
        if len(symbols) > sounding:
            raise ValueError(f"is too short for its text: {sounding} frames, {len(symbols)} symbols")
        return cls(mel[0, 0].T.contiguous(), start, symbols)


@dataclass(frozen=True)
class Residuals:
    """What a text encoder leaves of clips.

    Attributes:
        items: q = mel − μ, (N, 1, bands, frames), cut from the clips.
        conditions: μ of these frames, likewise.
        prompts: μ of the texts of the clips that the encoder was trained on, by predicted durations, (R, 1, bands, frames).
    """

    items: Tensor
    conditions: Tensor
    prompts: Tensor


def residuals(clips: Sequence[Clip], known: int, frames: int, size: str, seed: int) -> Residuals:
    """The residuals of clips under an encoder that is trained on the last ``known`` of them.

    These are neither trained on nor attacked afterwards, so that μ tells nothing of who is a member.

    Args:
        clips: N of them.
        known: R.
        frames: length of an item.
        size: a key of ``SIZES``.
        seed: of the encoder's training, which is done once: its weights are kept in the user's cache.
    """
    encoder = _encoder(clips[len(clips) - known :], size, seed)
    items, conditions = [], []
    for clip in clips:
        mean, _ = mean_mels(encoder, clip.text, clip.mel)
        part = slice(clip.start, clip.start + frames)
        items.append((clip.mel - mean)[part].T[None])
        conditions.append(mean[part].T[None])
    prompts = [_fitted(spoken(encoder, clip.text), frames).T[None] for clip in clips[len(clips) - known :]]
    return Residuals(*(torch.stack(part).contiguous() for part in (items, conditions, prompts)))


def _fitted(mean: Tensor, frames: int) -> Tensor:
    """The middle of (F, bands), or its ends repeated, (frames, bands)."""
    first = (len(mean) - frames) // 2
    return mean[torch.arange(first, first + frames).clamp(0, len(mean) - 1)]


def _encoder(clips: Sequence[Clip], size: str, seed: int) -> Encoder:
    """The trained encoder of these clips, from the cache if it is there."""
    digest = hashlib.sha256(repr((SIZES[size], seed)).encode())
    for clip in clips:
        digest.update(clip.mel.numpy().tobytes() + clip.text.numpy().tobytes())
    path = default_root() / "encoders" / f"{digest.hexdigest()}.safetensors"
    if path.exists():
        encoder = Encoder(SIZES[size], clips[0].mel.shape[1])
        encoder.load_state_dict(load_file(path))
        return encoder.eval()
    encoder = train_encoder([clip.text for clip in clips], [clip.mel for clip in clips], SIZES[size], seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(save(encoder.state_dict()))
    return encoder
