"""The model of an audit, from a folder of diffusers or from a function in a file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

from mibench.auditing.checkpoint import Checkpoint, dtype_of, first_half
from mibench.auditing.folder import ModelFolder
from mibench.auditing.given import Given
from mibench.auditing.settings import AuditSettings
from mibench.errors import MibenchError, UsageError, one_line
from mibench.files import sha256
from mibench.seeds import generator

__all__ = ["open_given"]


def open_given(settings: AuditSettings) -> Given:
    """The model that the settings name.

    Raises:
        UsageError: where there is none, or it cannot be loaded.
    """
    path, colon, function = settings.model.rpartition(":")
    if colon and path.endswith(".py"):
        for flag in ("weights", "scheduler", "empty_label"):
            if getattr(settings, flag) is not None:
                raise UsageError(
                    f"{settings.model} makes its own network and levels; leave out --{flag.replace('_', '-')}"
                )
        return _from_file(Path(path).expanduser(), function)
    if settings.model.endswith(".py"):
        raise UsageError(f"{settings.model}: name the function that returns a mibench.Checkpoint, as file.py:function")
    folder = ModelFolder.at(
        Path(settings.model).expanduser(), settings.weights, settings.scheduler, settings.trust_pickle
    )
    checkpoint = folder.checkpoint(settings.size, settings.empty_label)
    return Given.of(checkpoint, folder.root.resolve().name, folder.digest())


def _from_file(path: Path, function: str) -> Given:
    """The model that a function of a file returns; its digest is that of the file, of the weights and of some answers."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location("mibench_audited", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mibench_audited"] = module
    sys.path.insert(0, str(path.parent.absolute()))  # as of a script: modules beside it can be imported
    try:
        spec.loader.exec_module(module)
        made = getattr(module, function)()
    except AttributeError as error:
        known = [name for name in vars(module) if not name.startswith("_") and callable(getattr(module, name))]
        if not hasattr(module, function):
            raise UsageError(f"{path} has no function {function!r}; it has {', '.join(known) or 'none'}") from None
        raise UsageError(f"{path}:{function} fails: {one_line(error)}") from error
    except MibenchError as error:
        raise UsageError(f"{path}:{function}: {error}") from error
    except Exception as error:
        raise UsageError(f"{path}:{function} fails: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(made, Checkpoint):
        raise UsageError(f"{path}:{function} returns {type(made).__name__}; it must return a mibench.Checkpoint")
    made.module.eval().requires_grad_(False)
    answers = _answers(made, f"{path}:{function}")
    parts = [part for part in (made.module, made.autoencoder) if isinstance(part, torch.nn.Module)]
    weights = [sha256(value.detach().cpu().numpy().tobytes()) for part in parts for value in part.state_dict().values()]
    levels = repr((made.alpha.tolist(), made.sigma.tolist(), made.prediction, made.shape))
    return Given.of(
        made,
        f"{path.stem}:{function}",
        sha256("\n".join([sha256(path.read_bytes()), levels, answers, *weights]).encode()),
    )


@torch.no_grad()
def _answers(made: Checkpoint, name: str) -> str:
    """A digest of what the network says of one sample of noise: it also tells of weights that its module does not hold.

    Raises:
        UsageError: where the network fails, or answers with another shape.
    """
    x = torch.randn(1, *made.shape, generator=generator(0, "probe")).to(dtype_of(made.module))
    told = [torch.zeros(1, dtype=torch.long)] if made.labels else [made.captions([""])] if made.captions else []
    total = []
    for k in (0, made.steps // 2, made.steps - 1):
        try:
            out = first_half(made.module(x, torch.tensor([made.times[k]], dtype=x.dtype), *told), made.shape[0])
        except MibenchError as error:
            raise UsageError(f"{name}: {error}") from None
        except Exception as error:
            what = f"the network fails on a sample of shape {tuple(x.shape)}"
            raise UsageError(f"{name}: {what}: {type(error).__name__}: {one_line(error)}") from error
        if out.shape != x.shape:
            raise UsageError(
                f"{name}: the network answers {tuple(x.shape)} with {tuple(out.shape)}; give the right shape"
            )
        total.append(sha256(out.float().cpu().contiguous().numpy().tobytes()))
    return sha256("".join(total).encode())
