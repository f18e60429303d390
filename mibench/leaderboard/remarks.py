"""What stands on top of a page: which records it does not show or cannot vouch for, and what else a reader must know first."""

from __future__ import annotations

from mibench.defenses import Defense
from mibench.leaderboard.board import Board
from mibench.leaderboard.claimed import claims
from mibench.leaderboard.controls import Control, blind_attacks
from mibench.leaderboard.regime import reservations
from mibench.leaderboard.selection import Selection
from mibench.metrics.headings import REHEARSAL_SPACE
from mibench.results.validate import disagreements

__all__ = [
    "contradiction_note",
    "doubts",
    "own_stages",
    "rounding",
    "stale_note",
    "status",
    "unknown_note",
    "warnings",
]


def doubts(board: Board, name: str) -> list[str]:
    """The records that no figure may rest on, or that a reader must know of: stale, outdated, unknown and the like.

    Args:
        board: the board.
        name: of its suite on the command line.
    """
    chosen, lines = board.selection, []
    if chosen.stale:
        lines.append(stale_note(chosen, name, "in no figure"))
    if outdated := board.count("outdated"):
        lines.append(
            f"**{_records(outdated)} outdated** and in no figure, since the metrics have changed. Run `mibench upgrade`."
        )
    if contradictions := contradiction_note(chosen, name):
        lines.append(contradictions)
    if chosen.unknown:
        lines.append(unknown_note(chosen))
    if unlisted := chosen.unlisted:
        methods = {f"{kind} `{label}`" for found in unlisted for kind, label in found}
        lines.append(
            f"**{_records(len(unlisted))} unlisted**: {', '.join(sorted(methods))} {'are' if len(methods) > 1 else 'is'} "
            "shown beside the suite's list. Add to suite.toml what belongs there, and delete the other records."
        )
    return lines


def stale_note(chosen: Selection, name: str, where: str) -> str:
    """How many records are stale and therefore "in no figure" or the like, why, and what to do."""
    why = "; ".join(f"{reason} ({count})" for reason, count in sorted(chosen.stale.items()))
    return f"**{_records(chosen.stale.total())} stale** and {where}: {why}. Run `mibench run {name}` again."


def contradiction_note(chosen: Selection, name: str) -> str:
    """How many of the records that are shown do not belong with the others, and what to do; "" for none."""
    count = len([*disagreements({str(path): record for path, record in chosen.shown})])
    if not count:
        return ""
    return (
        f"**{_records(count, 'contradict' if count > 1 else 'contradicts')} others** in weights, split "
        f"or recipe: compare no figures. `mibench validate {name}` names them; run the suite again."
    )


def unknown_note(chosen: Selection, option: str = "--plugin") -> str:
    """How many of the records that are shown may be stale, why, and what to do."""
    parts = {part for found in chosen.unknown for several in found.values() for part in several}
    return (
        f"**{_records(len(chosen.unknown), 'could')} not be checked** and may be stale: {', '.join(sorted(parts))} "
        f"{'are' if len(parts) > 1 else 'is'} not registered. Install the plugin, or give {option}."
    )


def _records(count: int, verb: str = "are") -> str:
    """How many records, with a verb that fits."""
    if count == 1:
        return f"1 record {'is' if verb == 'are' else verb}"
    return f"{count} records {verb}"


def status(board: Board) -> str:
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
    if board.selection.excluded:
        counts = ", ".join(f"{count} of {what}" for what, count in sorted(board.selection.excluded.items()))
        text += f" Records that the suite does not ask for are not shown: {counts}."
    return text


def warnings(board: Board, found: dict[str, dict[str, Control]]) -> list[str]:
    """What else a reader must know first: broken claims, failed cells, splits that are not clean, and the like."""
    lines = _claims(board)
    if failed := board.count("failed"):
        lines.append(
            f"**{failed} cell{'s' * (failed > 1)} failed** and {'are' if failed > 1 else 'is'} in no figure. What they "
            "were to measure may be worse than it looks."
        )
    if board.rehearsal:
        lines.append(
            f"**Rehearsal**: the distances in the space {REHEARSAL_SPACE} are of a network with random weights. They show "
            "where the FID will stand, and are none."
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
        lines += reservations(board, dataset)
    return lines


def _claims(board: Board) -> list[str]:
    """The claims of privacy that an attack refutes, and those that promise no member anything."""
    broken, empty = [], []
    for (dataset, defense), found in claims(board).items():
        claim = found.claim
        if found.broken and (shown := found.shown):
            broken.append(
                f"**Broken claim**: `{defense}` claims {claim}-differential privacy on {dataset}, and `{shown.attack}` shows "
                f"ε ≥ {shown.epsilon:.2f} at this δ: {shown.evidence}."
            )
        if claim.epsilon is not None and claim.delta >= 1 / found.members:
            empty.append(
                f"**Claim with a large δ**: `{defense}` claims {claim}-differential privacy on {dataset}, where it has "
                f"{found.members} members. A δ of 1/members or more allows it to give a member away."
            )
    return broken + empty


def own_stages(board: Board, dataset: str) -> str:
    """Which defenses the controls do not know in full; "" where there is none."""
    parts = []
    for label in board.defenses(dataset):
        defense = board.selection.known.component("defense", label)
        if isinstance(defense, Defense) and defense.own_stages:
            parts.append(f"`{label}` ({', '.join(f'`{stage}`' for stage in defense.own_stages)})")
    if not parts:
        return ""
    return (
        "The exact and the fresh model are made from a defense's process alone. They are no control of what else a "
        f"defense replaces: {'; '.join(parts)}."
    )


def rounding(board: Board, dataset: str) -> str:
    """Which settings the records leave out since their ranks rest on rounding; "" for none."""
    most: dict[tuple[str, str], int] = {}
    for kind, view in ((kind, board.at(kind)) for kind in dict.fromkeys((board.model_kind, "exact", "fresh"))):
        for defense in view.defenses(dataset):
            for attack in view.attacks(dataset):
                for metrics in view.metrics(dataset, defense, attack).values():
                    most[attack, kind] = max(most.get((attack, kind), 0), len(metrics.unstable))
    parts = [f"`{attack}` (up to {count} on {kind} models)" for (attack, kind), count in most.items() if count]
    return (
        "Settings are left out where a change of the sample in its last bit reorders the scores: of "
        f"{', '.join(parts)}."
        if parts
        else ""
    )
