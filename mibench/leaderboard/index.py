"""The index over all boards, which answers: which defense, at what price."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from mibench.leaderboard.board import Board
from mibench.leaderboard.choices import TOLERANCE, Choice, choice_table, choices
from mibench.leaderboard.columns import ADVERSARY_NOT_RUN
from mibench.leaderboard.regime import never_informative
from mibench.leaderboard.text import Code, Entry, Strong, markdown_table, rate, signed, span
from mibench.suite.suite import ROOT, suite_name

__all__ = [
    "HOW_TO_READ",
    "Boards",
    "again",
    "check_index",
    "home",
    "index_markdown",
    "measured",
    "summary",
    "unmeasured",
]

Boards = list[tuple[Path, Board]]
"""Suites' folders with their boards."""

HOW_TO_READ = (
    "Of each defense the model is shown that leaks least among those whose distance (FD) is at most "
    f"{TOLERANCE:g} times that of the baseline at the end of its training, to two decimals: its utility. A defense that has "
    "none is shown at its end, below them. The AUROC is that of the worst known attack of the strongest attacker: .5 is "
    "guessing, 1 is perfect. *Difference*: below 0 it leaks less than the baseline; the intervals of all rows of a table hold at "
    "95 % together, and *significant* are those without 0. The reservations say what makes a row doubtful; *adversary not "
    f"run* (on a board: †): {ADVERSARY_NOT_RUN}. Boards whose baseline can tell defenses apart at some checkpoint come first. "
    "Commands need a checkout of the repository, installed by `pip install .` in it. That of a row makes one cell again: the "
    "worst known attack at its first seed."
)


def measured(boards: Boards) -> dict[str, list[tuple[Path, Board, str]]]:
    """The boards whose baseline has figures on a dataset, by the dataset's name; each with its label there.

    Those whose baseline is never informative come last.
    """
    found: dict[str, list[tuple[Path, Board, str]]] = {}
    for folder, board in boards:
        for dataset in board.datasets():
            if choices(board, dataset) and not board.rehearsal:
                found.setdefault(dataset.partition(":")[0], []).append((folder, board, dataset))
    for entries in found.values():
        entries.sort(key=lambda entry: bool(never_informative(*entry[1:])))
    return found


def unmeasured(boards: Boards) -> list[str]:
    """The names of the suites that show nothing yet."""
    shown = {folder for entries in measured(boards).values() for folder, _, _ in entries}
    return [suite_name(folder) for folder, _ in boards if folder not in shown]


def summary(board: Board, dataset: str, name: Callable[[str], str] = str) -> str:
    """The answer in words: which defense leaks significantly less at the baseline's utility, if the board can tell.

    Args:
        board, dataset: of the table.
        name: shows a label.
    """
    first, *rows = choices(board, dataset)
    base = name(first.defense)
    baseline = f"{base} leaks {rate(first.worst.auroc.mean)}"
    utility = f"the utility of {base} (at most {TOLERANCE:g} times its distance, FD)"
    flaw = never_informative(board, dataset)
    start = f"{base} {flaw} here: the board can hardly tell defenses apart. " if flaw else ""
    near = [row for row in rows if row.at_utility]
    if not near:
        return f"{start}No defense has {utility}; {baseline}."
    if not any(row.significant for row in near):
        compared = "leaks significantly less than" if any(row.difference for row in near) else "can be compared with"
        found = f"no defense {compared} {base} (AUROC {rate(first.worst.auroc.mean)})"
        return f"{start}At {utility}, {found}.{_reservations([first], name)}"
    best = near[0]
    stopped = f" after {best.step} steps" if best.step else ""
    change = best.difference
    found = ""
    if change:
        words = "significant" if best.significant else "not significantly less"
        found = f"; the difference is {signed(change.mean)} {span(change.interval, signed)}, {words}"
    return (
        f"{start}At {utility}, {name(best.defense)}{stopped} has the smallest AUROC: "
        f"{rate(best.worst.auroc.mean)}, "
        f"where {baseline}{found}.{_reservations([first, best], name)}"
    )


def _reservations(rows: list[Choice], name: Callable[[str], str]) -> str:
    parts = [f"{name(row.defense)}: {', '.join(row.doubts)}" for row in rows if row.doubts]
    return f" Reservations: {'; '.join(parts)}." if parts else ""


def home(folder: Path) -> Path:
    """Where a suite is, as a command in the folder above ``leaderboards/`` names it."""
    parts = folder.resolve().parts
    return Path(*parts[len(parts) - 1 - parts[::-1].index(ROOT) :]) if ROOT in parts else folder


def again(folder: Path) -> str:
    """The command that makes a whole board again."""
    return f"mibench run {home(folder)}"


def index_markdown(boards: Boards) -> str:
    """``leaderboards/README.md``: a pure function of suites and records."""
    parts = ["# Which defense, at what price?", textwrap.fill(HOW_TO_READ, 100, break_on_hyphens=False)]
    for name, entries in measured(boards).items():
        parts.append(f"## {name}")
        for folder, board, dataset in entries:
            suite = suite_name(folder)
            parts.append(f"### [{suite}]({suite}/README.md) on {dataset}")
            parts.append(textwrap.fill(summary(board, dataset, "`{}`".format), 100, break_on_hyphens=False))
            shown = choice_table(board, dataset, home(folder))
            rows = [[_markdown(entry) for entry in row] for row in shown.rows]
            parts.append(markdown_table([_markdown(entry) for entry in shown.header], rows))
            parts.append(f"The whole board again: `{again(folder)}`.")
    if empty := unmeasured(boards):
        parts += ["## Not yet run, or a rehearsal", ", ".join(f"[{suite}]({suite}/README.md)" for suite in empty)]
    return "\n\n".join(parts) + "\n"


def _markdown(entry: Entry) -> str:
    shown = {Code: "`{}`", Strong: "**{}**"}
    return "".join(shown.get(type(piece), "{}").format(piece) for piece in entry)


def check_index(path: Path, boards: Boards) -> list[str]:
    """What is wrong with the index on disk."""
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == index_markdown(boards):
        return []
    return [f"{path} {'differs from the records' if path.is_file() else 'is missing'}; run `mibench leaderboard`"]
