"""Networks that are given text: a U-Net with its text encoder and tokenizer, from the folder of a pipeline."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mibench.auditing.parts import load_part, needed, read_config
from mibench.errors import UsageError, one_line

__all__ = ["TextNetwork", "load_text"]

KEPT = 8
"""Batches of tokens whose embeddings are kept."""


class TextNetwork(nn.Module):
    """A network under texts, as ``StableDiffusionPipeline`` asks it: without an attention mask, all hidden states of the encoder.

    Args:
        network: a ``UNet2DConditionModel``.
        encoder: a ``CLIPTextModel``.
    """

    def __init__(self, network: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.network, self.encoder = network, encoder
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def forward(self, x: Tensor, times: Tensor, tokens: Tensor) -> Any:
        """Of states (B, *item) at times (B,) under tokens (B, L)."""
        return self.network(x, times, encoder_hidden_states=self._embedded(tokens).to(x.dtype))

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Hidden states (B, L, D); the same text is encoded once."""
        key = tokens.cpu().numpy().tobytes()
        if key not in self._kept:
            texts, place = torch.unique(tokens.long(), dim=0, return_inverse=True)
            with torch.no_grad():
                self._kept[key] = self.encoder(texts)[0][place]
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]


def load_text(
    root: Path, config: dict[str, Any], trust_pickle: bool
) -> tuple[nn.Module, Callable[[Sequence[str]], Tensor]]:
    """The text encoder of a pipeline, and what turns B captions into tokens (B, L); longer captions are cut.

    Args:
        root: of a pipeline, with ``text_encoder`` and ``tokenizer``.
        config: of the ``UNet2DConditionModel``.
        trust_pickle: whether weights that are pickles are read.

    Raises:
        UsageError: where a part is missing, of an unknown kind, or does not fit the network.
    """
    if (root / "text_encoder_2").is_dir() or config.get("addition_embed_type") or config.get("encoder_hid_dim_type"):
        raise UsageError(
            f"{root}: of networks that are given text, those with one CLIP encoder and nothing else are known"
        )
    folder, words = root / "text_encoder", root / "tokenizer"
    if not folder.is_dir() or not words.is_dir():
        missing = folder if not folder.is_dir() else words
        raise UsageError(
            f"there is no {missing}; a network that is given text needs text_encoder and tokenizer beside it"
        )
    settings = read_config(folder / "config.json")
    name = str((settings.get("architectures") or [None])[0])
    if name != "CLIPTextModel":
        raise UsageError(f"{folder}: unknown text encoder {name[:60]!r}; known: CLIPTextModel")
    encoder: Any = load_part(folder, name, trust_pickle, "transformers")
    width, given = encoder.config.hidden_size, config.get("cross_attention_dim")
    if given != width:
        raise UsageError(f"{folder}: it answers with {width} numbers for each token, the network takes {given}")
    try:
        tokenizer = needed("transformers", "AutoTokenizer").from_pretrained(str(words), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{words} cannot be loaded as a tokenizer: {one_line(error)[:160]}") from None
    if len(tokenizer) > encoder.config.vocab_size:
        raise UsageError(f"{words}: it has {len(tokenizer)} tokens, {folder} knows {encoder.config.vocab_size}")
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)

    def tokens(captions: Sequence[str]) -> Tensor:
        options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
        made: Tensor = tokenizer(list(captions), **options).input_ids
        return made

    return encoder, tokens
