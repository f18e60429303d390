"""Which symbol of a text is spoken when: monotonic alignment search, and the text encoder that is trained with it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mibench import MibenchError

__all__ = ["SYMBOLS", "Encoder", "Size", "align", "encoded", "mean_mels", "spoken", "train_encoder"]

EDGE = "_"
SYMBOLS = EDGE + " !'(),-.:;?abcdefghijklmnopqrstuvwxyz" + '"'
"""What the encoder knows; ``EDGE`` is the silence before and after a text."""

ALIKE = str.maketrans("“”‘’[]–—", "\"\"''()--")


def encoded(text: str) -> Tensor:
    """The symbols of a text between two edges, in lower case and without accents, (S,) indices into ``SYMBOLS``.

    Raises:
        ValueError: naming the characters that are not known, or where there is no text.
    """
    bare = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    symbols = " ".join(bare.lower().translate(ALIKE).split())
    if strange := sorted(set(symbols) - set(SYMBOLS[1:])):
        raise ValueError(f"has characters that the text encoder does not know: {' '.join(strange)[:40]}")
    if not symbols:
        raise ValueError("has no text")
    return torch.tensor([SYMBOLS.index(one) for one in EDGE + symbols + EDGE])


def align(values: Tensor, symbols: Tensor, frames: Tensor) -> Tensor:
    """The monotonic alignments with the largest sums of values: every frame has a symbol, every symbol a frame, in order.

    Q_{i,j} = max(Q_{i−1,j−1}, Q_{i,j−1}) + values_{i,j}, then back from the last symbol and frame (Glow-TTS, 2005.11129, eq. 7
    and algorithm 1).

    Args:
        values: (B, S, F), such as log N(frame_j; μ_i, I).
        symbols: (B,), how many of the S symbols each text has.
        frames: (B,), how many of the F frames each sound has, at least as many.

    Returns:
        (B, F): the symbol of each frame; beyond the end that of the last one.
    """
    batch, size, length = values.shape
    totals = values.new_full((batch, size + 1), -math.inf)  # the first column is the symbol before the first
    totals[:, 0] = 0
    stays = torch.empty(batch, length, size, dtype=torch.bool, device=values.device)
    for j in range(length):
        stays[:, j] = totals[:, 1:] > totals[:, :-1]
        totals = torch.maximum(totals[:, 1:], totals[:, :-1]) + values[:, :, j]
        totals = functional.pad(totals, (1, 0), value=-math.inf)
    path = torch.empty(batch, length, dtype=torch.int64, device=values.device)
    rows, here = torch.arange(batch, device=values.device), symbols - 1
    for j in reversed(range(length)):
        path[:, j] = here
        here = here - ((j < frames) & ~stays[rows, j, here]).long()
    return path


@dataclass(frozen=True)
class Size:
    """The size of a text encoder and its training.

    Attributes:
        channels, blocks, heads: of the transformer.
        steps, batch: of the training.
    """

    channels: int
    blocks: int
    heads: int
    steps: int
    batch: int


class Encoder(nn.Module):
    """Symbols to the means μ of their frames, and the logarithms of their durations (Grad-TTS, 2105.06337, section 3.2).

    Convolutions, transformer blocks and a linear layer give μ; two convolutions of what the blocks give, through which no
    gradient passes, the durations. The blocks are torch's, without relative positions: the convolutions show what stands near.

    Args:
        size: channels, blocks and heads.
        bands: of a mel.
    """

    def __init__(self, size: Size, bands: int) -> None:
        super().__init__()
        width = size.channels
        self.embedding = nn.Embedding(len(SYMBOLS) + 1, width)  # the last one fills up shorter texts
        self.before = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(3))
        block = nn.TransformerEncoderLayer(width, size.heads, 4 * width, 0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, size.blocks, enable_nested_tensor=False)
        self.mean = nn.Linear(width, bands)
        self.lengths = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.length = nn.Linear(width, 1)

    def forward(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) symbols, filled up with ``len(SYMBOLS)``, to μ (B, S, bands) and log durations (B, S)."""
        outside = texts == len(SYMBOLS)
        inside = (~outside)[..., None].float()
        h = self.embedding(texts) * inside
        for layer in self.before:
            h = h + functional.layer_norm(layer(h.mT).mT, h.shape[-1:]).relu() * inside
        h = self.blocks(h, src_key_padding_mask=outside) * inside
        d = h.detach()
        for layer in self.lengths:
            d = functional.layer_norm(layer(d.mT).mT.relu(), d.shape[-1:]) * inside
        mean: Tensor = self.mean(h)
        return mean, self.length(d)[..., 0]


def _filled(parts: Sequence[Tensor], value: float) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)


def _values(mean: Tensor, mels: Tensor) -> Tensor:
    """Log N(frame; μ, I) without its constant, (B, S, F), of means (B, S, bands) and mels (B, F, bands)."""
    return -0.5 * torch.cdist(mean, mels).square()


def train_encoder(texts: Sequence[Tensor], mels: Sequence[Tensor], size: Size, seed: int) -> Encoder:
    """Train a text encoder; −log N(mel; μ, I) of the best alignment and the squared error of log durations are its losses.

    Args:
        texts: (S_k,) symbols of each clip, see ``encoded``.
        mels: (F_k, bands) its frames, at least as many.
        size: of the encoder and the training.
        seed: of weights and batches.

    Raises:
        MibenchError: where a loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(size, mels[0].shape[1])
        with torch.no_grad():
            encoder.mean.bias.copy_(torch.cat(list(mels)).mean(0))
        optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, size.steps)
        for _ in range(size.steps):
            rows = torch.randint(len(texts), (size.batch,)).tolist()
            loss = _loss(encoder, [texts[k] for k in rows], [mels[k] for k in rows])
            if not torch.isfinite(loss):
                raise MibenchError("the text encoder cannot be trained on these clips: its loss is not finite")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    encoder.eval()
    return encoder


def _loss(encoder: Encoder, texts: Sequence[Tensor], mels: Sequence[Tensor]) -> Tensor:
    """The prior's loss per number of a mel plus that of the durations."""
    symbols, frames = (torch.tensor([len(one) for one in parts]) for parts in (texts, mels))
    padded = _filled(mels, 0.0)
    mean, log_durations = encoder(_filled(texts, len(SYMBOLS)))
    path = align(_values(mean.detach(), padded), symbols, frames)
    inside = torch.arange(padded.shape[1]) < frames[:, None]
    error = padded - mean.gather(1, path[..., None].expand(-1, -1, mean.shape[2]))
    prior = error[inside].square().mean() / 2
    counts = torch.zeros_like(log_durations).scatter_add(1, path, inside.float())
    spoken = torch.arange(counts.shape[1]) < symbols[:, None]
    loss: Tensor = prior + (log_durations[spoken] - counts[spoken].log()).square().mean()
    return loss


@torch.no_grad()
def mean_mels(encoder: Encoder, text: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
    """μ of each frame of a sound under its best alignment, (F, bands), and the symbol of each frame, (F,).

    Args:
        encoder: a trained one.
        text: (S,) symbols.
        mel: (F, bands), F ≥ S.
    """
    mean, _ = encoder(text[None])
    path = align(_values(mean, mel[None]), torch.tensor([len(text)]), torch.tensor([len(mel)]))[0]
    frames: Tensor = mean[0, path]
    return frames, path


@torch.no_grad()
def spoken(encoder: Encoder, text: Tensor) -> Tensor:
    """μ of each frame of a text that has no sound yet, by the predicted durations, rounded up as Grad-TTS does, (F, bands).

    They are means of logarithms, so that speech is still a little shorter than it should be.
    """
    mean, log_durations = encoder(text[None])
    counts = log_durations[0].exp().ceil().clamp(1, 400).long()
    frames: Tensor = mean[0].repeat_interleave(counts, dim=0)
    return frames
