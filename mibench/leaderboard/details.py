"""What figures cost and came from: evaluations, training, sizes, wall time, versions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mibench.leaderboard.board import DONE, Board
from mibench.leaderboard.columns import Column, build
from mibench.leaderboard.summaries import Spread
from mibench.leaderboard.tables import attacks_by_defenses, name_entry
from mibench.leaderboard.text import MISSING, Entry, Table, distinct, number
from mibench.metrics.headings import heading

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["cost_table", "packages", "size_table", "training_table", "versions", "wall_time"]

NEAR_DUPLICATES = (
    "**Near-duplicates** are non-members closer to a member than a tenth of the median distance between neighbouring "
    "samples; mean over seeds."
)
BASELINES = (
    "**Baselines of the distances**, all to the reference: *null*, one half of the reference to the other; *copies*, "
    "resampled members; *gauss*, a Gaussian with the members' mean and covariance."
)


def cost_table(board: Board, dataset: str) -> Table:
    """What the attacks ask of the networks."""
    first = Column(
        ("evaluations",),
        name_entry,
        "**Evaluations** are network evaluations + vector–Jacobian products for each scored sample; *of shadow models*: "
        "the same of theirs; *to learn*: all that was asked of any model before the first sample was scored, where the "
        "record has it.",
    )
    return attacks_by_defenses(board, dataset, first, partial(_cost, board, dataset))


def _cost(board: Board, dataset: str, defense: str, attack: str) -> Entry:
    cell = (dataset, defense, attack)
    if cell not in board.values("tier"):
        return (MISSING,)
    counts = []
    for prefix, words in (("", "{}"), ("shadow_", "{} of shadow models"), ("fit_", "{} to learn")):
        forwards, vjps = (board.spread(f"{prefix}{name}", *cell) for name in ("forwards", "vjps"))
        if forwards and vjps:
            counts.append(words.format(f"{forwards.mean:g} + {vjps.mean:g}"))
    return ("; ".join(counts) or MISSING,)


def training_table(board: Board, dataset: str) -> Table:
    """What the models were given, and how much they overfit."""
    rows = board.done[board.done["dataset"] == dataset].drop_duplicates("model_key")
    by_defense = dict(list(rows.groupby("defense")))

    def models(defense: str) -> DataFrame:
        return by_defense.get(defense, rows[:0])

    def gap(defense: str) -> Entry:
        found = models(defense)
        return _mean(found["heldout_loss"] - found["member_loss"])

    columns = [
        Column(("defense",), name_entry),
        Column(("steps",), lambda defense: _distinct(models(defense)["steps"], ".0f")),
        Column(
            ("epochs per member",),
            lambda defense: (
                distinct(map(_three_digits, filter(None, models(defense)["epochs_per_member"].dropna()))),
            ),
            "**Epochs per member**: how often training has drawn each member, on average.",
        ),
        Column(
            ("held-out − member loss",),
            gap,
            "**Held-out − member loss**: how much larger the loss is on held-out samples than on members, which is how "
            "much the model overfits.",
        ),
    ]
    return build(columns, board.defenses(dataset))


def size_table(board: Board) -> Table:
    """The sizes of each dataset's parts, and the baselines of its distances."""
    by_dataset = dict(list(board.done.groupby("dataset")))

    def rows(dataset: str) -> DataFrame:
        return by_dataset.get(dataset, board.done[:0])

    def size(part: str, dataset: str) -> Entry:
        return _distinct(rows(dataset)[part], ".0f")

    def evaluated(dataset: str) -> Entry:
        pairs = rows(dataset)[["evaluated_members", "evaluated_nonmembers"]].dropna().drop_duplicates()
        return (distinct(f"{members:.0f} v {nonmembers:.0f}" for members, nonmembers in pairs.itertuples(index=False)),)

    def distance(name: str, dataset: str) -> Entry:
        return _mean(rows(dataset)[name])

    def inception(name: str, space: str, dataset: str) -> Entry:
        found = rows(dataset)
        return _mean(found[found["inception_space"] == space][name])

    baselines = ("null", "copies", "gauss")
    spaces = sorted(set(board.done["inception_space"].dropna()))
    others = [
        (f"{heading(space)} ({space}) {name}", space, f"inception_fd_{name}") for space in spaces for name in baselines
    ]
    columns: list[Column[str]] = [
        Column(("dataset",), lambda dataset: (dataset,)),
        Column(("members",), partial(size, "members")),
        Column(("non-members",), partial(size, "nonmembers")),
        Column(("reference",), partial(size, "reference")),
        Column(("near-duplicates",), lambda dataset: _mean(rows(dataset)["near_duplicates"], ".1f"), NEAR_DUPLICATES),
        Column(("evaluated on",), evaluated, "**Evaluated on**: members v non-members that attacks are evaluated on."),
        *(Column((f"FD {name}",), partial(distance, f"fd_{name}"), BASELINES) for name in baselines),
        *(Column((header,), partial(inception, name, space), BASELINES) for header, space, name in others),
    ]
    return build(columns, board.datasets())


def _three_digits(value: float) -> str:
    """A number to three digits or to the next whole number, without zeros at its end."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _distinct(values: Series, form: str) -> Entry:
    return (distinct(format(value, form) for value in values.dropna().unique() if value),)


def _mean(values: Series, form: str = "") -> Entry:
    known = tuple(values.dropna())
    if not known:
        return (MISSING,)
    mean = Spread(known).mean
    return (format(mean, form) if form else number(mean),)


def wall_time(board: Board) -> str:
    """The wall time of all cells, and of the trainings of their models."""
    done = board.frame[board.frame["status"].isin(DONE)]
    trained = done[done["checkpoint"] == 0].drop_duplicates("model_key")
    cells, trainings = (f"{seconds.sum() / 60:.0f} min" for seconds in (done["seconds"], trained["training_seconds"]))
    return f"Wall time in one process: {cells} for the cells, {trainings} for training, without shadow models."


def versions(board: Board) -> str:
    """Every different value of what the records say of where they were made."""
    records = [record for dataset in board.datasets() for record in board.all_of("record", dataset)]
    found = [record.environment.model_dump() for record in records if record.environment]
    names = sorted({name for environment in found for name in environment})
    values = (f"{name} {distinct(e[name] for e in found if name in e)}" for name in names)
    return f"Made with: {' · '.join(values)}." if found else ""


def packages(board: Board) -> str:
    """The packages of the methods, with their versions, as far as the records name them."""
    methods: dict[str, set[str]] = {}
    for _, record in board.selection.shown:
        for kind, package in record.packages.items():
            methods.setdefault(package, set()).add(f"{kind} {record.cell.components()[kind].name}")
    lists = (f"{package} ({', '.join(sorted(names))})" for package, names in sorted(methods.items()))
    return f"Methods from: {' · '.join(lists)}." if methods else ""
