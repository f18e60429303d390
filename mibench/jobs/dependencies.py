"""Which models are still to be made, and which cells wait for them."""

from __future__ import annotations

from contextlib import suppress

from mibench.errors import MibenchError
from mibench.suite.cells import Cell
from mibench.suite.plan import Plan

__all__ = ["Dependencies"]


class Dependencies:
    """Cells wait until their own model and the shadow models of their attack are stored.

    Args:
        plan: where models and records are.
        cells: to be computed.

    Attributes:
        waiting: cells by the key of their model.
        missing: models that are to be made, by their key.
    """

    def __init__(self, plan: Plan, cells: list[Cell]) -> None:
        self.plan = plan
        self.waiting: dict[str, list[Cell]] = {}
        self.missing: dict[str, Cell] = {}
        self._made: set[str] = set()
        self._failed: dict[str, str] = {}  # reasons by key
        for cell in cells:
            self.waiting.setdefault(cell.model_key, []).append(cell)
            for model in cell.models():
                if model.model_key not in self.missing and not self._is_stored(model):
                    self.missing[model.model_key] = model

    def begun(self) -> set[frozenset[str]]:
        """The keys of trainings that were interrupted in one stack, for each stack."""
        store, stacks = self.plan.store, set()
        for key in store.keys("partials", ""):
            with suppress(MibenchError):  # it is corrupt, and is now set aside
                stacks.add(frozenset(store.meta("partials", key).get("trainings", ())))
        return {stack for stack in stacks if len(stack) > 1}

    def check_made(self, model: Cell) -> bool:
        """Whether a model is stored by now, which is noted."""
        if not self._is_stored(model):
            return False
        self.missing.pop(model.model_key, None)
        self._made.add(model.model_key)
        return True

    def give_up(self, model: Cell, reason: str) -> None:
        """Note that a model cannot be made."""
        self.missing.pop(model.model_key, None)
        self._failed[model.model_key] = reason

    def take_ready(self) -> tuple[list[list[Cell]], list[tuple[Cell, str]]]:
        """Take out the cells whose models are stored, or cannot be made.

        Returns:
            Cells whose models are all stored, by model; and those of which a model cannot be made, each with the reason.
        """
        ready, failed = [], []
        for key, group in list(self.waiting.items()):
            if any(model.model_key in self.missing for cell in group for model in cell.models()):
                continue
            del self.waiting[key]
            sound = []
            for cell in self._with_stale(key, group):
                reasons = [self._failed[m.model_key] for m in cell.models() if m.model_key in self._failed]
                if reasons:
                    failed.append((cell, reasons[0]))
                else:
                    sound.append(cell)
            if sound:
                ready.append(sound)
        return ready, failed

    def _with_stale(self, key: str, group: list[Cell]) -> list[Cell]:
        """Cells of a model; if it was made anew, also those whose records are of other weights."""
        if key not in self._made:
            return group
        same = [cell for cell in self.plan.cells if cell.model_key == key]
        return [cell for cell in same if cell in group or self.plan.state(cell)[0] in ("stale", "outdated")]

    def _is_stored(self, model: Cell) -> bool:
        try:
            return self.plan.weights(model) is not None
        except MibenchError:
            return False
