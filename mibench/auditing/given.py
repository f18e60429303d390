"""The audited model in the place of a defense: its process is tabulated, its training is not known."""

from __future__ import annotations

from typing import Any

from pydantic import PrivateAttr

from mibench.auditing.checkpoint import Checkpoint, parameters_of
from mibench.auditing.denoiser import GivenDenoiser
from mibench.auditing.tabulated import Levels
from mibench.defenses import Defense
from mibench.diffusion.model import Model
from mibench.diffusion.process import LinearSDE
from mibench.errors import UsageError

__all__ = ["Given"]


class Given(Defense):
    """A model that someone else has trained."""

    name = "given"

    _checkpoint: Checkpoint = PrivateAttr()
    _levels: Levels = PrivateAttr()
    _process: LinearSDE = PrivateAttr()
    _title: str = PrivateAttr()
    _digest: str = PrivateAttr()

    @classmethod
    def of(cls, checkpoint: Checkpoint, title: str, digest: str) -> Given:
        """The model of a checkpoint.

        Args:
            checkpoint: the network and its levels.
            title: what it is called in records and reports; keys do not depend on it.
            digest: of the files that it was made from; keys hold it.

        Raises:
            UsageError: where its levels make no process.
        """
        given = cls()
        given._checkpoint, given._levels, given._title, given._digest = checkpoint, Levels.of(checkpoint), title, digest
        try:
            given._process = given._levels.process()
        except ValueError as error:
            raise UsageError(f"the noise levels of {title} make no valid process: {error}") from None
        return given

    @property
    def label(self) -> str:
        """Its title."""
        return self._title

    @property
    def checkpoint(self) -> Checkpoint:
        """The network and its levels."""
        return self._checkpoint

    @property
    def levels(self) -> Levels:
        """The levels as a process."""
        return self._levels

    def spec(self) -> dict[str, Any]:
        """The digest in the place of options."""
        return {"name": self.name, "version": self.version, "options": {"model": self._digest}}

    def process(self) -> LinearSDE:
        """The tabulated process."""
        return self._process

    def open(self, data_variance: float, device: str) -> tuple[Model, dict[str, Any]]:
        """The model, and the facts of it that records hold.

        Args:
            data_variance: mean square of the members.
            device: where it is to answer.
        """
        denoiser = GivenDenoiser(self._checkpoint, self._levels, data_variance).to(device).eval()
        model = Model(self._process, denoiser, self._checkpoint.shape, device)
        return model, {"digest": self._digest, "parameters": parameters_of(self._checkpoint.module)}
