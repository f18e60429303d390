"""A package of a third party, installed in a folder: raised, edited and removed without pip.

``importlib.metadata`` needs no more than a module and its ``.dist-info`` beside it, in a folder of the path.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from mibench.plugins import installed, load

__all__ = ["SOURCE", "SUITE", "Package", "forget"]

SOURCE = '''"""Two defenses and two attacks."""

from mibench import Attack, hookimpl
from mibench_defenses import VP


class Calm(VP):
    """VP under another name."""

    name = "calm"
    version = 1


class Brisk(VP):
    """VP under yet another name."""

    name = "brisk"
    version = 1


class Direct(Attack):
    """The size of the network's answer to the sample itself."""

    name = "direct"
    version = 1
    published = "t_min"

    def score(self, model, x, ctx):
        return {"t_min": -1.0 * model.eps(model.at_rest(x), model.process.t_min).flatten(1).norm(dim=1)}


class Late(Attack):
    """The same at a later time."""

    name = "late"
    version = 1
    published = "t"

    def score(self, model, x, ctx):
        return {"t": -1.0 * model.eps(model.at_rest(x), 0.2).flatten(1).norm(dim=1)}


@hookimpl
def mibench_defenses():
    return [Calm, Brisk]


@hookimpl
def mibench_attacks():
    return [Direct, Late]
'''
"""The package's only module. Each ``version = 1`` stands below its ``name``, so that a test can raise one of them."""

SUITE = """datasets = ["digits:members=20,nonmembers=40,reference=200"]
defenses = ["calm", "brisk"]
attacks = ["direct"]
model = "exact"
controls = false
utility.samples = 100
utility.evaluations = 2
"""
"""Exact models: four cells, which take seconds."""


class Package:
    """The package ``acme`` in a folder of its own.

    Attributes:
        suite: the folder of a suite that names its methods.
        module: the file of its only module.
    """

    def __init__(self, folder: Path, call: Callable[..., tuple[int, str, str]]) -> None:
        self._site = folder / "site"
        self._call = call
        self.suite = folder / "suite"
        self.module = self._site / "acme.py"
        self.suite.mkdir(parents=True)
        (self.suite / "suite.toml").write_text(SUITE)
        self.install()

    def install(self, version: str = "1.0", source: str = SOURCE) -> None:
        """Install a release in place of any other."""
        self.remove()
        info = self._site / f"acme-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[mibench]\nacme = acme\n")
        self._write(source)

    def edit(self, old: str, new: str) -> None:
        """Change its source; the version of the package stays."""
        source = self.module.read_text()
        assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
        self._write(source.replace(old, new))

    def _write(self, source: str) -> None:
        """Without the bytecode of the source before, which may be as long and no second older."""
        shutil.rmtree(self._site / "__pycache__", ignore_errors=True)
        self.module.write_text(source)

    def set_version(self, name: str, version: int) -> None:
        """Change the version of a method from 1."""
        self.edit(f'name = "{name}"\n    version = 1', f'name = "{name}"\n    version = {version}')

    def remove(self) -> None:
        """Uninstall it."""
        shutil.rmtree(self._site, ignore_errors=True)

    def run(self, *argv: object) -> tuple[int, str, str]:
        """Run ``mibench`` with these arguments as a new process would: exit code, standard output, standard error."""
        forget()
        return self._call(*argv)


def forget() -> None:
    """Forget what this process has imported of the package and read of what is installed."""
    sys.modules.pop("acme", None)
    importlib.invalidate_caches()
    load.cache_clear()
    installed.cache_clear()
