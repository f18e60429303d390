"""How to read a leaderboard: general remarks, then what the columns of its tables mean."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from mibench.leaderboard.board import Board
from mibench.leaderboard.text import MISSING, Table

__all__ = ["guide"]

GENERAL = (
    "**Samples.** The model is trained on the members and not on the non-members. These two and the reference are drawn "
    "from one pool, anew for each seed. The first 20 % of members and of non-members are for calibration: attacks may "
    "learn from them, and settings are chosen on them. Every figure of an attack is computed on the other 80 %, the "
    "evaluation samples. The reference is never attacked; utility is measured against it.",
    "**Figures** are mean ± standard deviation over the seeds {seeds}. (2/3): two of three seeds have a figure. {missing}: "
    "not yet run. n/a: the attack cannot work on this model. *failed*: the attack broke. *outdated*: the "
    "record's metrics are of an older version. Footnotes give the reasons.",
    "**AUROC** is the probability that a random member scores higher than a random non-member: .5 is guessing, 1 is "
    "perfect. A value below .5 is shown as it is, never flipped.",
    "**Informative** is a checkpoint at which defenses can be told apart: the baseline's fraction is at most .5, so that it "
    "generates, and its worst known AUROC lies between .6 and .95, so that it leaks and is not saturated.",
    "**Intervals** at 95 % are in the records, seed by seed. That of the AUROC is DeLong's on the logit scale with one "
    "pseudo-score added to each side; that of the TPR is a bootstrap that draws the threshold anew.",
)


def guide(board: Board, tables: Iterable[Table]) -> str:
    """The general remarks, and the explanation of each column that these tables have, as a Markdown list."""
    general = [text.format(seeds=", ".join(map(str, board.suite.seeds)), missing=MISSING) for text in GENERAL]
    of_columns = dict.fromkeys(text for table in tables for text in table.explanations)
    return "\n".join(
        textwrap.fill(text, 100, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for text in [*general, *of_columns]
    )
