"""The README of a leaderboard: a pure function of the suite's file and its records, the same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mibench.leaderboard import details, tables
from mibench.leaderboard.audits import audit_table
from mibench.leaderboard.board import Board
from mibench.leaderboard.choices import MATCHED_AND_INDEX
from mibench.leaderboard.controls import controls
from mibench.leaderboard.frame import FPRS
from mibench.leaderboard.guide import guide
from mibench.leaderboard.regime import regimes
from mibench.leaderboard.remarks import doubts, own_stages, rounding, status, warnings
from mibench.leaderboard.text import Code, Entry, Footnote, Strong, Table, markdown_table
from mibench.suite.suite import suite_name

__all__ = ["TRADEOFF", "TRAINING", "check", "pictures", "render"]

TRADEOFF = "tradeoff.svg"
"""The picture of privacy against utility, beside the README."""

TRAINING = "training.svg"
"""The picture of both along the training."""


def render(folder: Path, board: Board) -> str:
    """The README of a suite, from the board that ``open_board`` gives of its folder."""
    return _Page(board, suite_name(folder)).text()


def pictures(board: Board) -> dict[str, str]:
    """The pictures that stand in the README of a board: what each shows, by its file's name."""
    cells = [(dataset, defense) for dataset in board.datasets() for defense in board.defenses(dataset)]
    found = {}
    if any(board.worst(*cell) and board.spread("fd", *cell) for cell in cells):
        found[TRADEOFF] = "Worst known AUROC against the distance (FD) of the samples"
    if len(board.checkpoints()) > 1:
        found[TRAINING] = "Worst known AUROC and distance (FD) of the samples against the step of training"
    return found


def check(folder: Path, board: Board) -> list[str]:
    """What is wrong with a suite's README: records that are stale or the like, and how it differs from ``render``."""
    name = suite_name(folder)
    found = [text.replace("**", "").replace("`", "") for text in doubts(board, name)]
    path, remedy = folder / "README.md", f"run `mibench leaderboard {name}`"
    if not path.is_file():
        return [*found, f"{path} is missing; {remedy}"]
    lines = [text.split("\n") for text in (path.read_bytes().decode(errors="replace"), render(folder, board))]
    if lines[0] == lines[1]:
        return found
    same = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    return [*found, f"{path} differs from its records at line {same + 1}; {remedy}"]


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
        top = [f"# {suite.title}", *doubts(board, self.name)]
        if board.frame.empty:
            return _joined([*top, suite.description.strip(), "**Not yet run.**", commands])
        parts = [*top, *warnings(board, self.controls), status(board)]
        shown = {name: f"![{what}]({name})" for name, what in pictures(board).items()}
        parts += [shown.get(TRADEOFF, ""), suite.description.strip()]
        for dataset in board.datasets():
            parts += self._dataset(dataset)
        parts += ["## Details", shown.get(TRAINING, "")]
        for dataset in board.datasets():
            parts += self._details(dataset)
        sizes = self._table(details.size_table(board))
        parts += ["## How to read this", guide(board, self.tables), sizes]
        parts += ["## Reproduce", commands, details.wall_time(board), details.packages(board), details.versions(board)]
        parts.append("\n".join(f"[^{i}]: {reason}" for i, reason in enumerate(self.reasons, 1)))
        return _joined(parts)

    def _dataset(self, dataset: str) -> list[str]:
        """What people read first of one dataset."""
        board, table = self.board, self._table
        parts = [f"## {dataset}", table(_with_display_names(board, tables.main_table(board, dataset)))]
        parts += [_regime(board, dataset), _adaptive(board, dataset)]
        parts += [_why_no_tpr(board, dataset, fpr) for fpr in FPRS]
        return [*parts, "Calibrated AUROC of each attack:", table(tables.attack_table(board, dataset))]

    def _details(self, dataset: str) -> list[str]:
        """The rest on one dataset; its longest tables are folded."""
        board, table, parts = self.board, self._table, []
        if rows := table(audit_table(board, dataset)):
            parts += [
                f"### Audit of {dataset}",
                "Lower bound on ε from guesses of which canaries were trained on:",
                rows,
            ]
        if len(board.checkpoints(dataset)) > 1:
            parts += [
                f"### {dataset} along the training",
                "Worst known AUROC at the distance (FD) that the model has then, after equal training:",
                table(tables.curve_table(board, dataset)),
                f"The same where each training first reaches the distances that `{board.baseline}` has at its checkpoints. "
                "Between checkpoints it is interpolated linearly; before the first one it is the AUROC there. "
                f"{MATCHED_AND_INDEX}",
                table(tables.matched_table(board, dataset)),
            ]
        if rows := table(tables.control_table(board, dataset, self.controls[dataset])):
            parts += [f"### Controls of {dataset}", rows, own_stages(board, dataset), rounding(board, dataset)]
        rows = table(tables.setting_table(board, dataset))
        parts += [f"### Settings of {dataset}", _folded(rows) or "No attack has been run."]
        parts += [f"### Cost and training of {dataset}", table(details.training_table(board, dataset))]
        return [*parts, _folded(table(details.cost_table(board, dataset)))]

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


def _with_display_names(board: Board, table: Table) -> Table:
    """The main table with what people call each defense behind its label, where that is more than another case."""
    rows = []
    for first, *others in table.rows:
        label, *flags = first
        name = board.display_names.get(label, label)
        rows.append([(label, f" {name}" if name.lower() != label else "", *flags), *others])
    return replace(table, rows=rows)


def _folded(table: str) -> str:
    """A long table that opens with a click; "" for one without rows."""
    return f"<details><summary>{len(table.splitlines()) - 2} rows</summary>\n\n{table}\n\n</details>" if table else ""


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _regime(board: Board, dataset: str) -> str:
    """Where the baseline stands along its training, for a reader who asks whether defenses can be told apart."""
    found = "; ".join(map(str, regimes(board, dataset)))
    return f"`{board.baseline}` at each checkpoint: {found}." if found else ""


def _adaptive(board: Board, dataset: str) -> str:
    """The adaptive attacks that were run on each defense, and its parts that met none of theirs, for a reader to judge."""
    run = {defense: board.adaptive(dataset, defense) for defense in board.defenses(dataset)}
    lists = []
    for defense, attacks in run.items():
        unmet = board.unmet(dataset, defense) if attacks else {}
        named = (
            f"`{part}` ({', '.join(f'`{name}`' for name in names) or 'it names none'})" for part, names in unmet.items()
        )
        missing = f", but none against {', '.join(named)}" if unmet else ""
        lists.append(f"`{defense}`: {', '.join(f'`{a}`' for a in attacks) or 'none'}{missing}")
    return f"Adaptive attacks that were run: {'; '.join(lists)}." if any(run.values()) else ""


def _why_no_tpr(board: Board, dataset: str, fpr: str) -> str:
    """Why the true positive rate of a worst known attack is not given; "" where it is."""
    reasons = set()
    for defense in board.defenses(dataset):
        if worst := board.worst(dataset, defense):
            estimates = [m.calibrated.tpr.get(fpr) for m in board.metrics(dataset, defense, worst.attack).values()]
            reasons |= {e.reason for e in estimates if e and e.value is None and e.reason}
    return f"TPR@{100 * float(fpr):g}%FPR is n/a: {'; '.join(sorted(reasons))}." if reasons else ""
