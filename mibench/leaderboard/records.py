"""The records of suites at hand: those that are current, and notes on those that are left out or may be stale."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.leaderboard.frame import Records, frame_of, rows_of
from mibench.leaderboard.remarks import contradiction_note, stale_note, unknown_note
from mibench.leaderboard.selection import Selection, select
from mibench.plugins import files_of, load
from mibench.results.folder import read_folder
from mibench.results.known import Known
from mibench.suite.suite import LoadedSuite, all_suites, load_suite, suite_name

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["choose", "notes", "records"]


def records(*suites: str | Path, plugins: tuple[str | Path, ...] = (), current_only: bool = True) -> DataFrame:
    """The records of these suites as one frame, a row per record; docs/analysis.md lists the columns.

    These are the records that the boards show. Those that are stale (a component has another version or other options now)
    and those that the suite does not ask for are left out, with a UserWarning. Records of components that are not registered
    may be stale: their rows say "unknown" in the column ``current``, and there is a UserWarning, too; another one where records
    contradict each other in weights, split or recipe.

    Args:
        suites: names under ``leaderboards/``, folders, or suite files; every suite under ``leaderboards/`` by default.
        plugins: loose plugin files, whose components are then known.
        current_only: False for all records, without warnings; ``current`` tells them apart.

    Raises:
        UsageError: for an unknown suite.
        MibenchError: where a record cannot be read.
    """
    known = Known.of(load(files_of(plugins)))
    rows, kept = [], []
    for located in [load_suite(str(suite)) for suite in suites or all_suites()]:
        found, selection = choose(located, known, current_only)
        rows += rows_of(found, selection, located.folder)
        kept += [record for _, record in found]
        for note in notes(selection, located.folder, "current_only=False", "plugins=") if current_only else ():
            warnings.warn(note, stacklevel=2)
    return frame_of(rows, kept)


def choose(located: LoadedSuite, known: Known, current_only: bool) -> tuple[Records, Selection]:
    """The records of a suite, sorted by path, all or those that its board shows; and what says which these are."""
    found = read_folder(located.folder)
    selection = select(located.suite, found, known)
    return [pair for pair in found if not current_only or pair[0] not in selection.left_out], selection


def notes(selection: Selection, folder: Path, keep: str = "--all", plugin: str = "--plugin") -> list[str]:
    """What a user of the records that a board shows must know, a line each.

    Args:
        selection: of the suite.
        folder: of the suite.
        keep: the option that keeps the records that are left out.
        plugin: the option that names a plugin's file.
    """
    name, lines = suite_name(folder), []
    if selection.stale:
        lines.append(f"{stale_note(selection, name, 'left out')} With {keep} they are kept.")
    if selection.excluded:
        counts = ", ".join(f"{count} of {what}" for what, count in sorted(selection.excluded.items()))
        lines.append(f"Records that the suite does not ask for are left out: {counts}. With {keep} they are kept.")
    if contradictions := contradiction_note(selection, name):
        lines.append(contradictions)
    if selection.unknown:
        lines.append(unknown_note(selection, plugin))
    return [f"{name}: {line.replace('**', '')}" for line in lines]
