"""The parts of a pipeline: configs, weights, and the libraries that make modules of them. No hub is ever asked."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from mibench.errors import UsageError, one_line

__all__ = ["load_part", "needed", "read_config", "weights_of"]


def read_config(path: Path) -> dict[str, Any]:
    """A config; UsageError where it is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no JSON object")
    return content


def weights_of(folder: Path) -> list[Path]:
    """The files of weights that are read: safetensors where there are any, else pickles."""
    safe = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.safetensors.index.json"))
    return safe or sorted(folder.glob("*.bin")) + sorted(folder.glob("*.bin.index.json"))


def load_part(folder: Path, name: str, trust_pickle: bool, home: str = "diffusers") -> nn.Module:
    """A part of a pipeline, ready to answer; its parameters ask for no gradients.

    Args:
        folder: of the part.
        name: of its class.
        trust_pickle: whether weights that are pickles are read.
        home: the module that has the class.

    Raises:
        UsageError: where there are no weights, they are only there as pickles, or they do not fit the config.
    """
    safe = any(folder.glob("*.safetensors"))
    if not safe and not any(folder.glob("*.bin")):
        raise UsageError(f"{folder} holds no weights (*.safetensors)")
    if not safe and not trust_pickle:
        raise UsageError(
            f"{folder} holds weights as pickles only, which can run any program; save them as safetensors, or give "
            "--trust-pickle if you trust who made them"
        )
    cls = needed(home, name)
    quick = {} if home == "transformers" else {"low_cpu_mem_usage": False}
    try:
        part, info = cls.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=safe,
            torch_dtype=torch.float32,
            output_loading_info=True,
            **quick,
        )
    except Exception as error:  # of every kind, for weights and configs that do not fit
        raise UsageError(f"{folder} cannot be loaded as {name}: {one_line(error)[:160]}") from None
    if missing := sorted(info["missing_keys"]):
        raise UsageError(f"{folder} cannot be loaded as {name}: its weights lack {missing[0]}, of {len(missing)}")
    return cast(nn.Module, part.eval().requires_grad_(False))


def needed(home: str, name: str) -> Any:
    """Something of a library that models in folders need; UsageError where it is not installed."""
    try:
        return getattr(import_module(home), name)
    except (ImportError, OSError, RuntimeError) as error:
        library, reason = home.partition(".")[0].replace("mibench", "diffusers"), one_line(error)[:120]
        raise UsageError(f"such a model needs {library} ({reason}): pip install 'mibench[audit]'") from None
