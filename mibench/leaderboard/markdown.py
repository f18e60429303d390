"""The README of a leaderboard: a pure function of the suite's file and its records, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

from mibench.leaderboard import details, tables
from mibench.leaderboard.board import Board, open_board
from mibench.leaderboard.controls import Control, blind_attacks, controls
from mibench.leaderboard.frame import FPRS
from mibench.leaderboard.guide import guide
from mibench.leaderboard.text import Code, Entry, Footnote, Strong, Table, markdown_table
from mibench.suite.suite import suite_name

__all__ = ["TRADEOFF", "TRAINING", "check", "pictures", "render"]

TRADEOFF = "tradeoff.png"
"""The picture of privacy against utility, beside the README."""

TRAINING = "training.png"
"""The picture of both along the training."""


def render(folder: Path, board: Board | None = None) -> str:
    """The README of a suite, whose board is read unless it is given.

    Raises:
        MibenchError: where the suite or a record cannot be read.
    """
    return _Page(board or open_board(folder), suite_name(folder)).text()


def pictures(board: Board) -> dict[str, str]:
    """The pictures that stand in the README of a board: what each shows, by its file's name."""
    cells = [(dataset, defense) for dataset in board.datasets() for defense in board.defenses(dataset)]
    found = {}
    if any(board.worst(*cell) and board.spread("fd", *cell) for cell in cells):
        found[TRADEOFF] = "Worst known AUROC against the distance (FD) of the samples"
    if len(board.checkpoints()) > 1:
        found[TRAINING] = "Worst known AUROC against the distance (FD), along each training"
    return found


def check(folder: Path) -> str | None:
    """None where the README is what ``render`` gives, else one line on the difference."""
    path, suite = folder / "README.md", suite_name(folder)
    remedy = f"run `mibench leaderboard {suite}`"
    if not path.is_file():
        return f"{path} is missing; {remedy}"
    wanted, found = render(folder), path.read_bytes().decode(errors="replace")
    if wanted == found:
        return None
    lines = found.split("\n"), wanted.split("\n")
    same = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    return f"{path} differs from its records at line {same + 1}; {remedy}"


class _Page:
    """One README. Footnotes are numbered, and tables kept for the guide, as the page is written."""

    def __init__(self, board: Board, name: str) -> None:
        self.board = board
        self.name = name
        self.controls = {dataset: controls(board, dataset) for dataset in board.datasets()}
        self.tables: list[Table] = []
        self.reasons: list[str] = []

    def text(self) -> str:
        """The whole page."""
        board, suite = self.board, self.board.suite
        commands = f"```\nmibench run {self.name}\nmibench leaderboard {self.name}\n```"
        if board.frame.empty:
            return _joined([f"# {suite.title}", suite.description.strip(), "**Not yet run.**", commands])
        parts = [f"# {suite.title}", *_warnings(board, self.controls), _status(board)]
        parts += [f"![{what}]({name})" for name, what in pictures(board).items()]
        parts.append(suite.description.strip())
        for dataset in board.datasets():
            parts += self._dataset(dataset)
        sizes = self._table(details.size_table(board))
        parts += ["## How to read this", guide(board, self.tables), sizes]
        parts += ["## Reproduce", commands, details.wall_time(board), details.versions(board)]
        parts.append("\n".join(f"[^{i}]: {reason}" for i, reason in enumerate(self.reasons, 1)))
        return _joined(parts)

    def _dataset(self, dataset: str) -> list[str]:
        """The section of one dataset."""
        board, table = self.board, self._table
        parts = [f"## {dataset}", table(tables.main_table(board, dataset)), _adaptive(board, dataset)]
        parts += [_why_no_tpr(board, dataset, fpr) for fpr in FPRS]
        parts += ["Calibrated AUROC of each attack:", table(tables.attack_table(board, dataset))]
        if len(board.checkpoints(dataset)) > 1:
            parts += [
                f"### {dataset} along the training",
                "Worst known AUROC at the distance (FD) that the model has then, after equal training:",
                table(tables.curve_table(board, dataset)),
                f"The same where each training first reaches the distances that `{board.baseline}` has at its checkpoints. "
                "Between checkpoints it is interpolated linearly; before the first one it is the AUROC there.",
                table(tables.matched_table(board, dataset)),
            ]
        if rows := table(tables.control_table(board, dataset, self.controls[dataset])):
            parts += [f"### Controls of {dataset}", rows]
        rows = table(tables.setting_table(board, dataset))
        parts += [f"### Settings of {dataset}", rows or "No attack has been run."]
        parts += [f"### Cost and training of {dataset}", table(details.training_table(board, dataset))]
        return [*parts, table(details.cost_table(board, dataset))]

    def _table(self, table: Table) -> str:
        """A table in Markdown, "" for one without rows."""
        if not table.rows:
            return ""
        self.tables.append(table)
        header = [self._entry(entry) for entry in table.header]
        return markdown_table(header, [[self._entry(entry) for entry in row] for row in table.rows])

    def _entry(self, entry: Entry) -> str:
        return "".join(map(self._piece, entry))

    def _piece(self, piece: str) -> str:
        if isinstance(piece, Code):
            return f"`{piece}`"
        if isinstance(piece, Strong):
            return f"**{piece}**"
        if isinstance(piece, Footnote):
            if piece not in self.reasons:
                self.reasons.append(piece)
            return f"[^{self.reasons.index(piece) + 1}]"
        return piece


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _status(board: Board) -> str:
    """How complete the board is."""
    done, expected = board.progress
    text = f"{done} of {expected} cells are done."
    if board.suite.model != "trained":
        text += f" All models are {board.suite.model} ones."
    if board.other_count:
        text += (
            f" There {f'are {board.other_count} further records' if board.other_count > 1 else 'is 1 further record'}"
        )
        text += " of checkpoints and controls."
    if board.excluded:
        counts = ", ".join(f"{count} of {what}" for what, count in sorted(board.excluded.items()))
        text += f" Records that the suite does not ask for are not shown: {counts}."
    return text


def _warnings(board: Board, found: dict[str, dict[str, Control]]) -> list[str]:
    """What a reader must know first: cells that failed, splits that are not clean, attacks that fail their control."""
    lines = []
    if outdated := board.count("outdated"):
        lines.append(
            f"**{outdated} record{'s are' if outdated > 1 else ' is'} outdated** and in no figure, since the metrics have "
            "changed. Run `mibench upgrade`, then `mibench leaderboard`."
        )
    if failed := board.count("failed"):
        lines.append(
            f"**{failed} cell{'s' * (failed > 1)} failed** and {'are' if failed > 1 else 'is'} in no figure. What they "
            "were to measure may be worse than it looks."
        )
    for dataset in board.datasets():
        wrong = [attack for attack, control in found[dataset].items() if control.significant]
        blind = blind_attacks(board, dataset)
        if blind.intersection(wrong):
            lines.append(
                f"**The split of {dataset} is not clean**: an attack that never looks at a model tells members from "
                "non-members. No AUROC on it can be read as leakage."
            )
        if names := ", ".join(f"`{attack}`" for attack in wrong if attack not in blind):
            lines.append(
                f"**On fresh data of {dataset}, {names} {'differ' if ',' in names else 'differs'} from .5** "
                "(significant at a family-wise 1 %), though nothing can leak there."
            )
    return lines


def _adaptive(board: Board, dataset: str) -> str:
    """The adaptive attacks that were run on each defense, for a reader to judge."""
    run = {defense: board.adaptive(dataset, defense) for defense in board.defenses(dataset)}
    lists = (f"`{defense}`: {', '.join(f'`{a}`' for a in attacks) or 'none'}" for defense, attacks in run.items())
    return f"Adaptive attacks that were run: {'; '.join(lists)}." if any(run.values()) else ""


def _why_no_tpr(board: Board, dataset: str, fpr: str) -> str:
    """Why the true positive rate of a worst known attack is not given; "" where it is."""
    reasons = set()
    for defense in board.defenses(dataset):
        if worst := board.worst(dataset, defense):
            estimates = [m.calibrated.tpr.get(fpr) for m in board.metrics(dataset, defense, worst.attack).values()]
            reasons |= {e.reason for e in estimates if e and e.value is None and e.reason}
    return f"TPR@{100 * float(fpr):g}%FPR is n/a: {'; '.join(sorted(reasons))}." if reasons else ""
