"""The tables that say how the figures came about: settings, training, costs, sizes, versions."""

from __future__ import annotations

from mibench.leaderboard.notes import Notes
from mibench.leaderboard.tables import Board, spread
from mibench.leaderboard.text import MISSING, code, distinct, number, rates, table
from mibench.metrics.headings import heading
from mibench.results.facts import ModelFacts

__all__ = ["settings", "sizes", "took", "training", "versions"]

CHOICES = ("published", "calibrated", "oracle")
BASELINES = ("null", "copies", "gauss")


def settings(board: Board, notes: Notes, dataset: str) -> str:
    """The AUROC of each attack at its three settings."""
    rows = []
    for defense in board.defenses(dataset):
        for attack in board.attacks(dataset):
            if found := board.attacked(dataset, defense, attack):
                row = [code(defense), code(attack)]
                for choice in CHOICES:
                    area = board.auroc(dataset, defense, attack, choice)
                    names = [getattr(m, choice).setting for m in found]
                    chosen = ", ".join(names if len(set(names)) > 1 else names[:1])
                    row.append(f"{notes.cell(dataset, defense, attack, area, rates)} at {chosen}")
                rows.append(row)
    header = ["defense", "attack", "published", "calibrated", "oracle (chosen with hindsight)"]
    return table(header, rows) if rows else "No attack has been run."


def training(board: Board, dataset: str) -> str:
    """What the models were given and kept, and what the attacks cost."""
    defenses, rows = board.defenses(dataset), []
    for defense in defenses:
        models = {record.model.key: record for record in board.records(dataset, defense)}
        facts = [models[key].model for key in sorted(models)]
        gap = spread(facts, _gap)
        row = [code(defense), distinct(f.steps for f in facts if f.steps)]
        row.append(distinct(f"{f.epochs_per_member:g}" for f in facts if f.epochs_per_member))
        rows.append([*row, number(gap.mean) if gap else MISSING])
    given = table(["defense", "steps", "epochs per member", "held-out − member loss"], rows)
    rows = [[code(a), *(_cost(board, dataset, d, a) for d in defenses)] for a in board.attacks(dataset)]
    return f"{given}\n\n{table(['evaluations', *map(code, defenses)], rows)}"


def _gap(model: ModelFacts) -> float | None:
    """The loss on held-out samples minus that on members, None where they were not measured."""
    if model.heldout_loss is None or model.member_loss is None:
        return None
    return model.heldout_loss - model.member_loss


def _cost(board: Board, dataset: str, defense: str, attack: str) -> str:
    costs = [r.cost for r in board.records(dataset, defense, attack) if r.attack]
    counts = [
        tuple(spread(costs, lambda c, k=f"{part}{kind}": getattr(c, k)) for kind in ("forwards", "vjps"))  # type: ignore[misc]
        for part in ("", "shadow_", "fit_")
    ]
    asked = [f"{forwards.mean:g} + {vjps.mean:g}" if forwards and vjps else "" for forwards, vjps in counts]
    words = ("{}", "{} of shadow models", "{} to learn")
    return "; ".join(word.format(count) for word, count in zip(words, asked, strict=True) if count) or MISSING


def sizes(board: Board) -> str:
    """The sizes of each dataset's parts and the baselines of its distance."""
    parts = ("members", "nonmembers", "reference")
    header = ["dataset", "members", "non-members", "reference", "near-duplicates", "evaluated on"]
    header += [f"FD {name}" for name in BASELINES]
    further = sorted({u.inception.space for d in board.datasets() for u in board.utilities(d) if u.inception})
    header += [f"{heading(space)} ({space}) {name}" for space in further for name in BASELINES]
    rows = []
    for dataset in board.datasets():
        records, utilities = board.records(dataset), board.utilities(dataset)
        splits = [r.split for r in records if r.split]
        row = [dataset, *(distinct(getattr(s, part) for s in splits) for part in parts)]
        close = spread(splits, lambda s: s.near_duplicates)
        row.append(f"{close.mean:.1f}" if close else MISSING)
        row.append(distinct(f"{r.attack.members} v {r.attack.nonmembers}" for r in records if r.attack))
        for name in BASELINES:
            values = spread(utilities, lambda u, name=name: getattr(u, name))  # type: ignore[misc]
            row.append(number(values.mean) if values else MISSING)
        for space in further:
            there = [u.inception for u in utilities if u.inception and u.inception.space == space]
            for name in BASELINES:
                values = spread(there, lambda u, name=name: getattr(u, name))  # type: ignore[misc]
                row.append(number(values.mean) if values else MISSING)
        rows.append(row)
    return table(header, rows)


def took(board: Board) -> str:
    """The wall time that the records tell of: of cells, and of the trainings of the models that they are of."""
    records = board.everything()
    trained = {r.model.key: r.model.seconds or 0.0 for r in records if not r.cell.checkpoint}
    cells, trainings = (
        f"{seconds / 60:.0f} min" for seconds in (sum(r.seconds for r in records), sum(trained.values()))
    )
    return f"In one process: {cells} for the cells, {trainings} for training, shadow models apart." if records else ""


def versions(board: Board) -> str:
    """Every different value of what the records say of where they were made."""
    records = [record for dataset in board.datasets() for record in board.records(dataset)]
    found = [r.environment.model_dump() for r in records if r.environment]
    names = sorted({name for environment in found for name in environment})
    values = (f"{name} {distinct(e[name] for e in found if name in e)}" for name in names)
    return f"Made with: {' · '.join(values)}." if found else ""
