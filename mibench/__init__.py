"""mibench: membership inference attacks against diffusion models, and the defenses against them.

A plugin is a package with an entry point in the group ``mibench`` whose module implements one of the hooks::

    from mibench import Attack, hookimpl

    class MyAttack(Attack):
        \"\"\"What it does, in one line.\"\"\"
        name = "my-attack"
        published = "default"

        def score(self, model, x, ctx):
            u = model.at_rest(x)
            return {"default": -model.eps(u, model.process.t_min).flatten(1).norm(dim=1)}

    @hookimpl
    def mibench_attacks():
        return [MyAttack]

Names are imported when they are first used, so that a command that needs no torch loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mibench.api import attack, audit, dataset, defense, model, roc, run, scores
    from mibench.auditing.checkpoint import Checkpoint
    from mibench.auditing.result import Audit
    from mibench.claims import Claim
    from mibench.components import Attack, Component, Dataset
    from mibench.context import Context
    from mibench.defenses import Defense
    from mibench.diffusion.losses import NoisedBatch
    from mibench.diffusion.model import Model
    from mibench.diffusion.process import Kernel, LinearSDE
    from mibench.errors import MibenchError, NotApplicable, UsageError
    from mibench.file_datasets import FileDataset, FileReader
    from mibench.hookspecs import hookimpl
    from mibench.leaderboard.records import records
    from mibench.measures import Measure
    from mibench.modality import IMAGE, MEL, POINTS, Modality
    from mibench.recipe import Recipe
    from mibench.results.record import Record

__version__ = "0.1.0"
__all__ = [
    "IMAGE",
    "MEL",
    "POINTS",
    "Attack",
    "Audit",
    "Checkpoint",
    "Claim",
    "Component",
    "Context",
    "Dataset",
    "Defense",
    "FileDataset",
    "FileReader",
    "Kernel",
    "LinearSDE",
    "Measure",
    "MibenchError",
    "Modality",
    "Model",
    "NoisedBatch",
    "NotApplicable",
    "Recipe",
    "Record",
    "UsageError",
    "attack",
    "audit",
    "dataset",
    "defense",
    "hookimpl",
    "model",
    "records",
    "roc",
    "run",
    "scores",
]

_HOMES = {
    "mibench.api": ("attack", "audit", "dataset", "defense", "model", "roc", "run", "scores"),
    "mibench.auditing.checkpoint": ("Checkpoint",),
    "mibench.auditing.result": ("Audit",),
    "mibench.claims": ("Claim",),
    "mibench.components": ("Attack", "Component", "Dataset"),
    "mibench.context": ("Context",),
    "mibench.defenses": ("Defense",),
    "mibench.diffusion.losses": ("NoisedBatch",),
    "mibench.diffusion.model": ("Model",),
    "mibench.diffusion.process": ("Kernel", "LinearSDE"),
    "mibench.errors": ("MibenchError", "NotApplicable", "UsageError"),
    "mibench.file_datasets": ("FileDataset", "FileReader"),
    "mibench.hookspecs": ("hookimpl",),
    "mibench.leaderboard.records": ("records",),
    "mibench.measures": ("Measure",),
    "mibench.modality": ("IMAGE", "MEL", "POINTS", "Modality"),
    "mibench.recipe": ("Recipe",),
    "mibench.results.record": ("Record",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mibench' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
