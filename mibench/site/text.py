"""Entries of tables, Markdown and data as HTML. Whatever comes from a suite or a record is shown as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from mibench.leaderboard.text import Code, Entry, Footnote, Strong, Table
from mibench.site.libraries import to_html

__all__ = ["Cell", "Row", "Shown", "Writer", "address", "inline", "markdown", "script_json"]

NUMBER = re.compile(r"[−+-]?(?:\d+\.?\d*|\.\d+)")

LONGEST = 200
"""Characters of a name that are shown; a pointer shows the rest."""


@dataclass(frozen=True)
class Cell:
    """An entry of a table as HTML.

    Attributes:
        html: its content.
        sort: what its column is sorted by; None for the number that its text begins with, or the text.
    """

    html: Markup
    sort: str | None = None


Row = list[Cell]


@dataclass(frozen=True)
class Shown:
    """A table as HTML: a name for those who do not see it, its header and its rows."""

    caption: str
    header: list[Markup]
    rows: list[Row]


@dataclass
class Writer:
    """Writes the tables of one page.

    Attributes:
        names: display names by label.
        notes: the reasons that marks lead to, in their order.
        explanations: what the guide says of the columns so far.
    """

    names: dict[str, str]
    notes: list[str] = field(default_factory=list)
    explanations: list[str] = field(default_factory=list)

    def table(self, caption: str, table: Table) -> Shown:
        """A table; its explanations are kept for the guide."""
        self.explain(table.explanations)
        rows = [[self.cell(entry) for entry in row] for row in table.rows]
        return Shown(caption, [self.html(entry) for entry in table.header], rows)

    def explain(self, texts: Iterable[str]) -> None:
        """Keep explanations for the guide."""
        self.explanations = list(dict.fromkeys([*self.explanations, *texts]))

    def cell(self, entry: Entry) -> Cell:
        """An entry; it is sorted by its first number, or by its text where it begins with a name."""
        text = "".join(piece for piece in entry if not isinstance(piece, Footnote))
        number = None if isinstance(entry[0], Code) else NUMBER.search(text)
        return Cell(self.html(entry), number[0].replace("−", "-") if number and number.start() else None)

    def html(self, entry: Entry) -> Markup:
        """An entry, piece by piece; a label is shown by its display name."""
        return Markup().join(map(self._piece, entry))

    def _piece(self, piece: str) -> Markup:
        if isinstance(piece, Footnote):
            if piece not in self.notes:
                self.notes.append(piece)
            number = self.notes.index(piece) + 1
            return Markup('<sup><a href="#note-{0}" aria-label="note {0}">{0}</a></sup>').format(number)
        if isinstance(piece, Code):
            return self.name(piece)
        if isinstance(piece, Strong):
            return Markup("<strong>{}</strong>").format(piece)
        return escape(piece)

    def with_names(self, markdown: str) -> str:
        """Markdown with the display names of the labels that stand in it as code."""
        return re.sub(r"`([^`]+)`", lambda found: f"`{self.names.get(found[1], found[1])}`", markdown)

    def name(self, label: str) -> Markup:
        """The display name of a label, which a pointer shows."""
        shown = self.names.get(label, label)
        if len(shown) > LONGEST:
            shown = shown[:LONGEST] + "…"
        if shown == label:
            return Markup("<bdi>{}</bdi>").format(label)
        return Markup('<bdi title="{}">{}</bdi>').format(label, shown)


def address(*labels: str, step: int = 0) -> str:
    """The fragment of a cell's address, ``#dataset/defense/attack``, and ``/step`` behind it for a checkpoint.

    JavaScript's decodeURIComponent gives each part back.
    """
    parts = [*labels, *([str(step)] if step else [])]
    return "#" + "/".join(quote(part, safe="!~*'():=,+@") for part in parts)


def markdown(text: str) -> Markup:
    """Markdown as HTML."""
    return Markup(to_html(text))


def inline(text: str) -> Markup:
    """One line of Markdown, without a paragraph around it."""
    return Markup(to_html(text).strip().removeprefix("<p>").removesuffix("</p>"))


def script_json(value: Any) -> Markup:
    """JSON that nothing in it can end the script element around it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
