"""Errors and side effects of one cell, kept from the other cells of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mibench.errors import MibenchError, NotApplicable, one_line
from mibench.evaluate.isolation import isolated
from mibench.evaluate.record import Measurement, build_record
from mibench.evaluate.report import Report
from mibench.evaluate.shadows import Shadows
from mibench.evaluate.target import Target
from mibench.suite.cells import Cell

__all__ = ["CellIsolation"]


class CellIsolation:
    """Runs the stages of cells: global state is isolated, models are put back, and an error ends one cell alone.

    Attributes:
        ended: indices of the cells that failed or are not applicable, and have been reported as such.
    """

    def __init__(self, cells: list[Cell], target: Target, shadows: Shadows, report: Report) -> None:
        self._cells, self._target, self._shadows, self._report = cells, target, shadows, report
        self._replacing: set[int] = set()
        self.ended: set[int] = set()

    @contextmanager
    def stage(self, index: int, stage: int) -> Iterator[None]:
        """Run a stage of a cell; each stage has global random numbers of its own.

        Stage 0 learns, stages 1 … N score the batches, stage N + 1 checks and stores the scores.

        Raises:
            MibenchError: where a model was changed and cannot be put back; a new process must open it again.
        """
        cell, replaced = self._cells[index], list[str]()
        name = cell.labels["attack"]
        self._report.begin(index)
        try:
            with isolated(self._target.cell.seed, name, stage) as replaced:
                yield
            if not self._target.released.unchanged():
                raise MibenchError(f"{name} changed the model that it was given")
            if cell.shadows() and not self._shadows.unchanged():
                raise MibenchError(f"{name} changed a shadow model that others use too")
        except Exception as error:
            self.ended.add(index)
            if isinstance(error, NotApplicable):
                self._report.done(index, build_record(cell, self._target, Measurement(reason=one_line(error))))
            else:
                self._report.failed(index, error)
            if not self._restore_models():
                raise MibenchError(f"{name} changed a model beyond repair") from None
        if replaced and index not in self._replacing:
            self._replacing.add(index)
            self._report.say(f"{name} replaced {one_line(', '.join(replaced))}; the originals were put back")

    def _restore_models(self) -> bool:
        """Whether all models are as they were, after a repair where one was needed."""
        if self._target.released.unchanged() and self._shadows.unchanged():
            return True
        self._target.cache.clear()
        return self._target.released.restore() and self._shadows.restore()
