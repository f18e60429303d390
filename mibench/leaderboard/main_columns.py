"""The columns of the main table: one row per defense on one dataset.

To add a column, add one ``Column`` to the list in ``main_columns``; the guide explains it wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mibench.kinds import Tier
from mibench.leaderboard.board import TIERS, Board, Worst
from mibench.leaderboard.claimed import Claimed, claims
from mibench.leaderboard.columns import ADVERSARY_NOT_RUN, Column, figure, missing_seeds, named
from mibench.leaderboard.frame import FPRS
from mibench.leaderboard.front import Standing, standings
from mibench.leaderboard.summaries import Spread, matched
from mibench.leaderboard.text import (
    MISSING,
    Code,
    Entry,
    Footnote,
    Strong,
    distinct,
    numbers,
    rate,
    rates,
    signed,
    span,
)
from mibench.metrics.headings import heading, kernel_heading
from mibench.metrics.set_level import samples_needed
from mibench.results.folder import UTILITY

__all__ = ["ACCESS", "DOMINATED_BY", "Row", "main_columns", "shown_fpr", "tier_columns"]

ACCESS: dict[Tier, str] = {
    "samples": "samples",
    "network": "network",
    "weights": "weights",
    "shadows": "shadow models",
}
"""What an attacker has, in words."""

DOMINATED_BY: Entry = ("dominated by",)
"""The header of the column that counts a defense's betters."""

FEW_SEEDS = "Defenses can be compared where they have two seeds or more in common."
NO_FRACTION = (
    "A Gaussian is as near to the reference as copies of the members are: gauss − copies is not above null, the distance "
    "between two halves of the reference."
)


@dataclass(frozen=True)
class Row:
    """A row of the main table: one defense on one dataset, under an attacker with this access."""

    board: Board
    dataset: str
    defense: str
    tier: Tier = TIERS[-1]

    @property
    def worst(self) -> Worst | None:
        """Its worst known attack."""
        return self.board.worst(self.dataset, self.defense, self.tier)

    def of_worst(self, column: str) -> Spread | None:
        """A figure of its worst known attack."""
        return self.board.spread(column, self.dataset, self.defense, self.worst.attack) if self.worst else None


def _name(row: Row) -> Entry:
    board, dataset, defense = row.board, row.dataset, row.defense
    flags = " †" if row.worst and board.unmet(dataset, defense) else ""
    end = board.training_curve(dataset, board.baseline)[-1:]
    if end and defense != board.baseline:
        area = matched(board.training_curve(dataset, defense), end[0][1])
        flags += " ▲" if area is not None and area > end[0][2] else ""
    return (*named(board, "defense", defense), flags)


def _worst(row: Row, tier: Tier) -> Entry:
    worst = row.board.worst(row.dataset, row.defense, tier)
    if not worst:
        return (MISSING,)
    null = f", null {rate(worst.null)}" if worst.null is not None else ""
    missing = missing_seeds(row.board, worst.auroc)
    interval = f"{missing} {span(worst.interval, rate)} "
    return (Strong(rate(worst.auroc.mean)), interval, *named(row.board, "attack", worst.attack), null, *_unrun(worst))


def _unrun(worst: Worst | None) -> Entry:
    """A footnote where attacks that have a result on other defenses have none on this one."""
    if not worst or not worst.unrun:
        return ()
    return (
        Footnote(
            f"Without a result here: {', '.join(worst.unrun)}. It may leak more, so it is not compared with others."
        ),
    )


def _area(row: Row) -> Entry:
    if not (worst := row.worst):
        return (MISSING,)
    return (Strong(rate(worst.auroc.mean)), missing_seeds(row.board, worst.auroc), *_unrun(worst))


def _null(row: Row) -> Entry:
    null = row.worst.null if row.worst else None
    return (MISSING if null is None else rate(null),)


def _difference(row: Row) -> Entry:
    change = row.board.difference(row.dataset, row.defense, row.board.baseline, tier=row.tier)
    if change:
        return (f"{signed(change.mean)} {span(change.interval, signed)}",)
    return (MISSING, *_unrun(row.worst))


def _tpr(row: Row, fpr: str) -> Entry:
    if not row.worst:
        return (MISSING,)
    tpr, percent = row.of_worst(f"tpr_at_{fpr}"), f" @{100 * float(fpr):g}%"
    cell = (row.dataset, row.defense, row.worst.attack)
    return (*figure(row.board, cell, tpr, rates), percent if tpr else "")


def _accuracy(row: Row) -> Entry:
    accuracy, fpr = row.of_worst("accuracy"), row.of_worst("fpr")
    return (f"{rates(accuracy)} at {rate(fpr.mean)}" if accuracy and fpr else MISSING,)


def _epsilon(row: Row) -> Entry:
    epsilon = row.of_worst("epsilon")
    return (f"{epsilon.mean:.2f}" if epsilon else MISSING,)


def _claimed(row: Row, found: dict[tuple[str, str], Claimed]) -> Entry:
    """The claimed (ε, δ) and the largest bound, with the attack that shows it."""
    here = found.get((row.dataset, row.defense))
    if not here or here.claim.epsilon is None:
        return ("no claim",)
    entry = (str(here.claim),)
    if not here.shown:
        return entry
    return (*entry, f"; {here.shown.epsilon:.2f} ", Code(here.shown.attack), ", broken" if here.broken else "")


def _samples_needed(row: Row) -> Entry:
    if not row.worst:
        return (MISSING,)
    metrics = row.board.metrics(row.dataset, row.defense, row.worst.attack).values()
    needed, most = samples_needed(m.ranked() for m in metrics)
    return (f"{needed}" if needed else f"not within {most}",)


def _of_samples(row: Row, column: str, show: Callable[[Spread], str]) -> Entry:
    """A measure of the samples; a dash where they were measured, but not in this way."""
    cell = (row.dataset, row.defense, UTILITY)
    spread = row.board.spread(column, *cell)
    if spread is None and row.board.values("samples").get(cell):
        return (MISSING,)
    return figure(row.board, cell, spread, show)


def _fraction(row: Row) -> Entry:
    entry = _of_samples(row, "fraction", lambda s: rate(s.mean) + (" does not generate" if s.mean > 1 else ""))
    known, measured = (row.board.spread(name, row.dataset, row.defense) for name in ("fraction", "samples"))
    if not measured or (known and len(known.values) == len(measured.values)):
        return entry
    return (*(entry if known else ("n/a",)), Footnote(NO_FRACTION))


def _dominated_by(row: Row, found: dict[str, Standing]) -> Entry:
    """The first of those that dominate it and how many more, or that there is none."""
    standing = found.get(row.defense)
    if not standing:
        return (MISSING, *_unrun(row.worst))
    if not standing.dominated_by:
        generates = "" if standing.generates else ", fraction > .5"
        return (f"none{generates}",) if standing.comparable else ("n/a", Footnote(FEW_SEEDS))
    first, *more = standing.dominated_by
    return (Code(first), f" and {len(more)} more" if more else "")


def _percent(spread: Spread) -> str:
    return f"{100 * spread.mean:.1f} %"


def shown_fpr(board: Board, dataset: str, tier: Tier = TIERS[-1]) -> str:
    """The strictest false positive rate at which the worst known attacks of all defenses have a TPR."""
    metrics = [
        m
        for defense in board.defenses(dataset)
        if (worst := board.worst(dataset, defense, tier))
        for m in board.metrics(dataset, defense, worst.attack).values()
    ]
    known = (fpr for fpr in FPRS if all((e := m.calibrated.tpr.get(fpr)) and e.value is not None for m in metrics))
    return next(known, FPRS[-1])


DEFENSE = Column(
    ("defense",),
    _name,
    f"† *Adversary not run*: {ADVERSARY_NOT_RUN}. Those that were run are listed below the table. "
    "▲ It leaks more than the baseline does, where it reaches the baseline's final distance.",
)
ACCURACY = Column(
    ("accuracy at FPR",),
    _accuracy,
    "**Accuracy** is balanced accuracy at the threshold that is best on the calibration samples, with the false positive "
    "rate that this threshold has on the evaluation samples.",
)
EPSILON = Column(
    ("ε ≥",),
    _epsilon,
    "**ε ≥** is the lower bound at 95 % on the ε of pure differential privacy that follows from the two rates at this "
    "threshold, mean over seeds. The samples of one model are not independent: take it as an estimate.",
)
SAMPLES_NEEDED = Column(
    ("samples needed",),
    _samples_needed,
    "**Samples needed**, to show that a whole set was trained on: how many members, drawn at random, and as many "
    "non-members a one-sided Mann–Whitney test of their scores needs for p < .01 in 95 % of draws, under the worst known "
    "attack at its calibrated setting, on average over the seeds. *Not within N*: the N evaluated a side are too few.",
)
FRACTION = Column(
    ("fraction",),
    _fraction,
    "**Fraction** is (FD − copies) / (gauss − copies): 0 for samples as good as copies of the members, 1 for samples as "
    "bad as those of a Gaussian. A model above 1 *does not generate*.",
)
COPIED = Column(
    ("copied",),
    partial(_of_samples, column="copied", show=_percent),
    "**Copied** is the share of generated samples that are nearer to a member than 99 % of the reference are.",
)
WORST = (
    "**Worst known attack**: the attack with the largest mean calibrated AUROC, for an attacker who has generated samples, "
    "the network's answers, its weights, or shadow models. Each attacker may also use what the ones before it have. The "
    "attack is chosen on the samples that it is reported on, so further attacks can only raise the figure. Its interval "
    "holds at 95 % for all attacks that it was chosen from together (Newcombe's method 5, Bonferroni). *null* is the same "
    "maximum of the same attacks on fresh data, where nothing can leak."
)
DIFFERENCE = (
    "**Difference from the baseline**: that of the worst known AUROCs on the same samples (DeLong's paired test, mean "
    "over seeds, 95 % interval). Below 0 the defense leaks less than the baseline. Each interval holds by itself; the index over "
    "all boards has wider ones, which hold together for all rows of a table."
)
TPR = (
    "**TPR@x%FPR**: the largest true positive rate over all thresholds with a false positive rate of at most x %, for the "
    "worst known attack at its calibrated setting. It is given where x % of the non-members are at least ten."
)
FD = (
    "**FD** is the Fréchet distance between n generated samples and the reference in the named feature space. Smaller is "
    "better."
)
KD = (
    "**KD** is the kernel distance (squared maximum mean discrepancy, cubic kernel) in the same space. It is estimated "
    "without bias, so it may lie a little below 0."
)
CLAIMED = (
    "**Claimed (ε, δ); shown ε ≥**: the differential privacy that the defense claims for adding or removing one member, and the "
    "largest lower bound on ε at this δ that an attack shows, from its rates at that threshold over all seeds, or an audit from "
    "its guesses of canaries. The bounds of all attacks and audits on all claims of the board hold at 95 % together "
    "(Bonferroni). A claim is *broken* where the bound is larger."
)
DOMINATED = (
    "**Dominated by**: the defenses that beat it. Neither the worst known AUROC nor the FD of such a defense is larger on "
    "average, and one of the two is significantly smaller (DeLong's paired test, a paired t test over the seeds), at 95 % for "
    "all other defenses together (Bonferroni). *None*: it is on the Pareto front, the line in tradeoff.svg. With few seeds "
    "little is significant, so a defense can be there for want of evidence. *Fraction > .5*: its samples are nearer to a "
    "Gaussian's distance than to that of copies, and a model that hardly generates has little to leak."
)
INCEPTION = (
    "**FID** and **KID** are the same two distances with Inception features, where their weights were available. An FID "
    "of few samples is far above that of many."
)


def main_columns(board: Board, dataset: str) -> list[Column[Row]]:
    """The columns of a dataset's main table."""
    tiers = board.tiers(dataset)
    return [
        DEFENSE,
        *(Column(("worst known attack: ", Strong(ACCESS[t])), partial(_worst, tier=t), WORST) for t in tiers),
        *_further_columns(board, dataset, TIERS[-1]),
    ]


def tier_columns(board: Board, dataset: str, tier: Tier) -> list[Column[Row]]:
    """The columns of the same table for one attacker, its worst known attack in columns of its own and before the rest."""
    fd = _distance_columns(board, dataset)[0]
    return [
        DEFENSE,
        Column(("worst AUROC",), _area, WORST),
        Column(("interval",), lambda row: (span(row.worst.interval, rate) if row.worst else MISSING,)),
        Column(("attack",), lambda row: named(row.board, "attack", row.worst.attack) if row.worst else (MISSING,)),
        fd,
        FRACTION,
        Column(("null",), _null),
        *(
            column
            for column in _further_columns(board, dataset, tier)
            if column.header not in (FRACTION.header, fd.header)
        ),
    ]


def _further_columns(board: Board, dataset: str, tier: Tier) -> list[Column[Row]]:
    """What stands behind the worst known attacks."""
    fpr, found = shown_fpr(board, dataset, tier), standings(board, dataset, tier)
    claimed = {pair: claim for pair, claim in claims(board).items() if pair[0] == dataset}
    return [
        Column(("difference from ", Code(board.baseline), " (95 % each)"), _difference, DIFFERENCE),
        Column((f"TPR@{100 * float(fpr):g}%FPR",), partial(_tpr, fpr=fpr), TPR),
        ACCURACY,
        EPSILON,
        *([Column(("claimed (ε, δ); shown ε ≥",), partial(_claimed, found=claimed), CLAIMED)] if claimed else []),
        SAMPLES_NEEDED,
        *_distance_columns(board, dataset),
        FRACTION,
        COPIED,
        *([Column(DOMINATED_BY, partial(_dominated_by, found=found), DOMINATED)] if len(found) > 1 else []),
    ]


def _distance_columns(board: Board, dataset: str) -> list[Column[Row]]:
    """A column for each distance of the samples that some record has; the Fréchet distance always."""
    space, other = (distinct(board.all_of(f"{prefix}space", dataset)) for prefix in ("", "inception_"))
    n = distinct(f"{n:.0f}" for n in board.all_of("samples", dataset))
    first = f"{heading(space)} ({space}, n = {n})" if board.all_of("fd", dataset) else "FD"
    columns = {
        "fd": (first, FD),
        "kid": (kernel_heading(space), KD),
        "inception_fd": (f"{heading(other)} ({other})", INCEPTION),
        "inception_kid": (f"{kernel_heading(other)} ({other})", INCEPTION),
    }
    return [
        Column((header,), partial(_of_samples, column=name, show=numbers), explanation)
        for name, (header, explanation) in columns.items()
        if name == "fd" or board.all_of(name, dataset)
    ]
