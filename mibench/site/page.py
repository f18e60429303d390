"""The page of a board: a pure function of its suite and records, the same bytes each time."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mibench.kinds import Tier
from mibench.leaderboard import details as provenance
from mibench.leaderboard import tables
from mibench.leaderboard.audits import audit_table
from mibench.leaderboard.board import TIERS, Board
from mibench.leaderboard.choices import MATCHED_AND_INDEX
from mibench.leaderboard.columns import ADVERSARY_NOT_RUN
from mibench.leaderboard.controls import controls
from mibench.leaderboard.guide import guide
from mibench.leaderboard.index import again, home
from mibench.leaderboard.main_columns import ACCESS
from mibench.leaderboard.remarks import doubts, own_stages, rounding, status, warnings
from mibench.leaderboard.text import Table
from mibench.site.compiling import plots
from mibench.site.details import packed_details
from mibench.site.libraries import template, vega
from mibench.site.packing import packed
from mibench.site.points import points, tradeoff_plot
from mibench.site.styles import FEW, styles
from mibench.site.tables import cell_table, defense_table, heat_table
from mibench.site.text import Shown, Writer, inline, markdown, script_json
from mibench.suite.suite import suite_name

__all__ = ["board_page"]

Media = dict[str, list[dict[str, Any]]]
"""Pictures and sounds by dataset, see ``mibench.site.samples``."""


def board_page(folder: Path, board: Board, refresh: int = 0, media: Media | None = None) -> str:
    """The page of a suite.

    Args:
        folder: of the suite.
        board: that ``open_board`` gives of it.
        refresh: after so many seconds the page loads itself anew; 0 for never.
        media: what the models generate.
    """
    name = suite_name(folder)
    writer, found = Writer(board.display_names), {dataset: controls(board, dataset) for dataset in board.datasets()}
    tiers = [tier for tier in TIERS if any(tier in board.tiers(dataset) for dataset in board.datasets())]
    sections = [_section(board, dataset, tiers, writer, found[dataset], media or {}) for dataset in board.datasets()]
    sizes = writer.table("Sizes and baselines of the distances", provenance.size_table(board))
    explained = Table([], [], tuple(writer.explanations))
    done, expected = board.progress
    return str(
        template("board.html").render(
            title=board.suite.title,
            name=name,
            back="../" * name.count("/") + "index.html",
            progress=(done, expected),
            status=status(board),
            alerts=[inline(writer.with_names(text)) for text in (*doubts(board, name), *warnings(board, found))],
            description=markdown(board.suite.description.strip()),
            tiers=[(tier, ACCESS[tier]) for tier in tiers],
            sections=sections,
            adversary=ADVERSARY_NOT_RUN,
            sizes=sizes,
            guide=markdown(guide(board, [explained])),
            notes=writer.notes,
            provenance=[
                text
                for text in (provenance.wall_time(board), provenance.packages(board), provenance.versions(board))
                if text
            ],
            commands=[again(folder), f"mibench site {home(folder)}"],
            refresh=refresh,
            data=script_json(_data(board, folder, tiers)),
            details=packed_details(board),
            vega=packed(vega()),
        )
    )


def _section(
    board: Board, dataset: str, tiers: list[Tier], writer: Writer, found: dict[str, Any], media: Media
) -> dict[str, Any]:
    """What the template shows of one dataset."""
    drawn = styles(board.defenses(dataset))
    header, rows = heat_table(board, dataset, writer)
    cells, ranks = cell_table(board, dataset, writer)
    curves = []
    if len(board.checkpoints(dataset)) > 1:
        along = writer.table("Worst known AUROC and distance along the training", tables.curve_table(board, dataset))
        title = "Worst known AUROC where each training first reaches the baseline's distances"
        note = f"Between checkpoints it is interpolated linearly. {MATCHED_AND_INDEX}"
        curves = [(along, ""), (writer.table(title, tables.matched_table(board, dataset)), note)]
    notes = [text for text in (own_stages(board, dataset), rounding(board, dataset)) if text]
    return {
        "label": dataset,
        "name": writer.names.get(dataset, dataset),
        "tables": [(tier, defense_table(board, dataset, tier, writer, drawn)) for tier in tiers],
        "heat": {"header": header, "rows": rows},
        "cells": (cells, ranks),
        "curves": curves,
        "audits": _nonempty(writer.table("Audits", audit_table(board, dataset))),
        "controls": _nonempty(writer.table("Controls", tables.control_table(board, dataset, found))),
        "control_notes": [inline(text) for text in notes],
        "training": writer.table("Training", provenance.training_table(board, dataset)),
        "many": len(board.defenses(dataset)) > FEW,
        "media": media.get(dataset, []),
    }


def _nonempty(shown: Shown) -> Shown | None:
    return shown if shown.rows else None


def _data(board: Board, folder: Path, tiers: list[Tier]) -> dict[str, Any]:
    """What the script is given."""
    rows = {dataset: {tier: points(board, dataset, tier) for tier in tiers} for dataset in board.datasets()}
    return {
        "suite": suite_name(folder),
        "tiers": tiers,
        "datasets": board.datasets(),
        "names": {label: name for label, name in sorted(board.display_names.items()) if name != label},
        "points": rows,
        "logit": {of: {tier: tradeoff_plot(found) == "logit" for tier, found in by.items()} for of, by in rows.items()},
        "checkpoints": {dataset: len(board.checkpoints(dataset)) > 1 for dataset in rows},
        "specs": plots(),
        "again": f"mibench run --record {shlex.quote(str(home(folder)))}/",
    }
