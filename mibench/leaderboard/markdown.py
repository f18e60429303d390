"""The README of a leaderboard: a pure function of the suite's file and its records, the same bytes each time.

Tables are written here and not with a library, whose next version would change the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mibench.components import Tier
from mibench.harness.records import AttackMetrics
from mibench.harness.suite import BLIND
from mibench.leaderboard.tables import UTILITY, Board, Spread, matched, open_board, spread

__all__ = ["check", "render"]

MISSING = "–"
CHOICES = ("published", "calibrated", "oracle")
BASELINES = ("null", "copies", "gauss")
FPRS = ("0.001", "0.01", "0.1")
Show = Callable[[Spread], str]

ACCESS = {
    "samples": "samples",
    "network": "network",
    "weights": "weights",
    "shadows": "shadow models",
}

GUIDE = """\
- **Samples.** Members were trained on, non-members and reference were not; all come from one pool, split anew for
  each seed. The first 20 % of members and of non-members are for calibration: attacks may learn from them, and
  settings are chosen on them. Every figure of an attack is from the other 80 %. The reference is never attacked.
  *Near-duplicates* (mean over seeds) are non-members closer to a member than a tenth of the median distance between
  neighbouring samples.
- **Figures** are mean ± standard deviation over the seeds {seeds}; (2/3) says that two of three seeds have one,
  {missing} that the cell has not been run, n/a that it cannot be, with the reason in a footnote.
- **AUROC.** Larger scores mean "member". An AUROC below .5 is shown as it is, never flipped.
- **Settings.** *Published* is the setting of the attack's paper, *calibrated* the best on the calibration samples,
  *oracle* the best on the very samples that it is reported on: what hindsight adds.
- **Worst known attack**: the attack with the largest mean calibrated AUROC, for attackers with access to generated
  samples, to the network's answers as well, to its weights, and with shadow models of their own; each may use all that
  the ones before it use. It is the one column that is chosen on the samples that it is reported on, and later attacks
  can only raise it. Its interval is at 95 % for all attacks that it was chosen from together (Bonferroni), and *null* is
  the same maximum of the same attacks on fresh data, where there is nothing to find.
- † No attack that was made for this kind of defense has met it. ▲ It leaks more than the baseline does when it has
  the baseline's distance.
- **More than the baseline**: the difference of the worst known AUROCs on the same samples (DeLong's paired test, mean
  over seeds, 95 % interval); below 0 the defense hides something.
- **TPR@x%FPR** is the largest true positive rate over all thresholds with at most that false positive rate, of the
  worst known attack at its calibrated setting. It is given where the rate allows at least ten false positives.
- **Accuracy** is balanced, at the threshold that is best on the calibration samples, with the false positive rate that
  this threshold really has. **ε** is the lower bound at 95 % that this puts on the ε of pure differential privacy, mean
  over seeds; samples of one model are not independent, so take it as an estimate.
- **Controls**: the exact model of the members, which every attack should see through (the least over defenses, first
  seed); the exact model of fresh data, where .5 is right (the farthest over defenses and seeds, and how many of them are
  outside the interval that all on this dataset together keep with 99 %); and the stored scores of the latter with shuffled
  labels. `blind` never looks at a model.
- **Intervals** at 95 % are in the records, seed by seed: of the AUROC, DeLong's on the logit scale with one
  pseudo-score added to each sample; of the TPR, a bootstrap that draws the threshold anew.
- **FD** is the Fréchet distance between generated samples and the reference in the named feature space; *null* that
  between the halves of the reference, *copies* that of resampled members, *gauss* that of a Gaussian with their mean
  and covariance. The *fraction* is (FD − copies) / (gauss − copies): 0 for a model no better than copies of its data,
  and above 1 for one no better than the Gaussian, which does not generate. *Copied* are samples nearer to a member
  than 99 % of the reference are.
- **Evaluations** are network forwards + vector–Jacobian products for each scored sample."""


def render(folder: Path) -> str:
    """The README of a suite.

    Raises:
        MibenchError: where the suite or a record cannot be read.
    """
    return _Page(open_board(folder), f"leaderboards/{folder.resolve().name}").text()


def check(folder: Path) -> str | None:
    """None where the README is what ``render`` gives, else one line on the difference."""
    path, suite = folder / "README.md", folder.resolve().name
    remedy = f"run `mibench leaderboard {suite}`"
    if not path.is_file():
        return f"{path} is missing; {remedy}"
    wanted, found = render(folder), path.read_bytes().decode(errors="replace")
    if wanted == found:
        return None
    lines = found.split("\n"), wanted.split("\n")
    same = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    return f"{path} differs from its records at line {same + 1}; {remedy}"


def rate(value: float) -> str:
    """A rate as .713, −.020 or 1.000."""
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def number(value: float, like: float | None = None) -> str:
    """Three significant digits without an exponent, or as many decimals as ``like`` would have."""
    size = abs(value if like is None else like)
    decimals = min(12, max(0, 2 - math.floor(math.log10(size)))) if size else 2
    return f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference of rates as +.020 or −.713."""
    text = rate(value)
    return text if text.startswith("−") else f"+{text}"


def span(interval: tuple[float, float], show: Callable[[float], str]) -> str:
    """An interval in brackets."""
    return f"[{show(interval[0])}, {show(interval[1])}]"


def rates(found: Spread) -> str:
    """Rates as ``.713 ± .021``."""
    return rate(found.mean) + ("" if found.sd is None else f" ± {rate(found.sd)}")


def numbers(found: Spread) -> str:
    """Other numbers as ``12.3 ± 0.4``."""
    return number(found.mean) + ("" if found.sd is None else f" ± {number(found.sd, found.mean)}")


def code(text: str) -> str:
    """A name in the typeface of code."""
    return f"`{text}`"


def distinct(values: Iterable[Any]) -> str:
    """The different values, sorted; a dash for none."""
    return ", ".join(sorted({str(value) for value in values})) or MISSING


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others centred."""
    lines = [header, [":--", *[":-:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


@dataclass
class _Page:
    board: Board
    place: str
    reasons: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The whole page."""
        board, suite = self.board, self.board.suite
        done, expected = board.progress
        status = f"{done} of {expected} records are there."
        if suite.model != "trained":
            status += f" All models are {suite.model} ones."
        if board.further:
            status += f" {board.further} more, of other seeds, are not shown."
        beside = sum(
            len(found) for kind, cells in board.kinds.items() if kind != board.kind for found in cells.values()
        )
        status += f" {beside} of checkpoints and controls are beside them." if beside else ""
        parts = [f"# {suite.title}", self._warnings(), suite.description.strip(), status]
        for dataset in board.datasets():
            parts += [f"## {dataset}", self._main(dataset)]
            if along := self._along(dataset):
                parts += [f"### {dataset} along the training", along]
            if controls := self._controls(dataset):
                parts += [f"### Controls of {dataset}", controls]
            parts += [f"### Settings of {dataset}", self._settings(dataset)]
            parts += [f"### Cost and training of {dataset}", self._training(dataset)]
        guide = GUIDE.format(seeds=", ".join(map(str, suite.seeds)), missing=MISSING)
        parts += ["## How to read this", guide, self._sizes()]
        commands = f"mibench run {self.place}/suite.toml\nmibench leaderboard {self.place.rpartition('/')[2]} --check"
        parts += ["## Reproduce", f"```\n{commands}\n```", self._versions()]
        parts += ["\n".join(f"[^{i}]: {reason}" for i, reason in enumerate(self.reasons, 1))]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _cell(self, dataset: str, defense: str, attack: str, found: Spread | None, show: Show) -> str:
        """A spread, marked where seeds are lacking, with the reasons of those that do not apply."""
        records = self.board.cells.get((dataset, defense, attack), [])
        notes = "".join(dict.fromkeys(self._note(r.reason) for r in records if r.status == "n/a" and r.reason))
        if found is None:
            return f"n/a{notes}" if records else MISSING
        seeds = len(self.board.suite.seeds)
        mark = f" ({len(found.values)}/{seeds})" if len(found.values) < seeds else ""
        return show(found) + mark + notes

    def _note(self, reason: str) -> str:
        reason = " ".join(reason.split())
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"[^{self.reasons.index(reason) + 1}]"

    # ── the main table ────────────────────────────────────────────────────────────────────────────────────────────
    def _main(self, dataset: str) -> str:
        board, tiers = self.board, self.board.tiers(dataset)
        baseline = self._baseline(dataset)
        found = [
            m
            for d in board.defenses(dataset)
            if (w := board.worst(dataset, d))
            for m in board.attacked(dataset, d, w.attack)
        ]
        fpr = next((f for f in FPRS if all(_tpr(m, f) is not None for m in found)), FPRS[-1])
        percent = f"{100 * float(fpr):g}"
        header = ["defense", *(f"worst known attack: **{ACCESS[tier]}**" for tier in tiers)]
        header += [f"more than {code(baseline)}", f"TPR@{percent}%FPR", "accuracy at FPR", "ε ≥"]
        header += [self._distance_header(dataset), "fraction", "copied"]
        rows = []
        for defense in board.defenses(dataset):
            worst, change = board.worst(dataset, defense), board.difference(dataset, defense, baseline)
            flags = " †" if worst and board.unadapted(dataset, defense) else ""
            flags += " ▲" if self._leaks_more(dataset, defense, baseline) else ""
            row = [code(defense) + flags, *(self._worst(dataset, defense, tier) for tier in tiers)]
            row.append(f"{signed(change.mean)} {span(change.interval, signed)}" if change else MISSING)
            if worst:
                metrics = board.attacked(dataset, defense, worst.attack)
                tpr = spread(metrics, lambda m: _tpr(m, fpr))
                row.append(self._cell(dataset, defense, worst.attack, tpr, rates) + (f" @{percent}%" if tpr else ""))
                accuracy = spread(metrics, lambda m: m.calibrated.fixed.accuracy.value)
                false = spread(metrics, lambda m: m.calibrated.fixed.fpr)
                leak = spread(metrics, lambda m: m.calibrated.fixed.epsilon)
                row.append(f"{rates(accuracy)} at {rate(false.mean)}" if accuracy and false else MISSING)
                row.append(f"{leak.mean:.2f}" if leak else MISSING)
            else:
                row += [MISSING] * 3
            rows.append(row + self._utility(dataset, defense))
        parts = [table(header, rows), *(_why(found, f) for f in FPRS)]
        attacks = board.attacks(dataset)
        defenses = board.defenses(dataset)
        rows = [
            [code(a), *(self._cell(dataset, d, a, board.auroc(dataset, d, a), rates) for d in defenses)]
            for a in attacks
        ]
        parts += ["Calibrated AUROC of each attack.", table(["attack", *map(code, defenses)], rows)]
        return "\n\n".join(part for part in parts if part)

    def _baseline(self, dataset: str) -> str:
        defenses = self.board.defenses(dataset)
        return "vp" if "vp" in defenses else defenses[0]

    def _worst(self, dataset: str, defense: str, tier: Tier) -> str:
        found = self.board.worst(dataset, defense, tier)
        if not found:
            return MISSING
        null = f", null {rate(found.null)}" if found.null is not None else ""
        return f"**{rate(found.area.mean)}** {span(found.interval, rate)} {code(found.attack)}{null}"

    def _leaks_more(self, dataset: str, defense: str, baseline: str) -> bool:
        """Whether a defense leaks more than the baseline where it has come down to the baseline's final distance."""
        end = self.board.path(dataset, baseline)[-1:]
        area = matched(self.board.path(dataset, defense), end[0][1]) if end and defense != baseline else None
        return area is not None and area > end[0][2]

    # ── along the training ────────────────────────────────────────────────────────────────────────────────────────
    def _along(self, dataset: str) -> str:
        """Privacy and utility at every checkpoint, and at the baseline's distances."""
        board, baseline = self.board, self._baseline(dataset)
        if len(board.checkpoints()) < 2:
            return ""
        names = [f"step {step}" if step else "end" for step in board.checkpoints()]
        paths = {defense: board.path(dataset, defense) for defense in board.defenses(dataset)}
        rows = []
        for defense, path in paths.items():
            at = {step: f"{rate(area)} at {number(distance)}" for step, distance, area in path}
            rows.append([code(defense), *(at.get(step, MISSING) for step in board.checkpoints())])
        parts = [
            "Largest calibrated AUROC of the attacks, at the distance (FD) that the model then has, after equal training."
        ]
        parts.append(table(["defense", *names], rows))
        marks = [(step, distance) for step, distance, _ in paths[baseline]]
        rows = []
        for defense, path in paths.items():
            areas = [matched(path, distance) for _, distance in marks]
            if defense == baseline:
                areas = [area for _, _, area in path]
            rows.append([code(defense), *(rate(a) if a is not None else "does not get there" for a in areas)])
        header = [f"{number(distance)} ({f'step {step}' if step else 'end'})" for step, distance in marks]
        parts.append(
            f"The same where each training first comes down to the distances that {code(baseline)} has at its checkpoints, "
            "linear between checkpoints; before the first checkpoint, its AUROC there."
        )
        parts.append(table(["defense", *header], rows))
        return "\n\n".join(parts)

    # ── controls ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _controls(self, dataset: str) -> str:
        """What the attacks reach where the answer is known."""
        rows = [
            [
                code(attack),
                rate(found.exact) if found.exact is not None else MISSING,
                rate(found.fresh) if found.fresh is not None else MISSING,
                f"{found.outside[0]} of {found.outside[1]}",
                rate(found.shuffled) if found.shuffled is not None else MISSING,
            ]
            for attack, found in self.board.controls(dataset).items()
        ]
        header = [
            "attack",
            "exact model (least)",
            "fresh data (farthest from .5)",
            "outside at 99 %",
            "labels shuffled",
        ]
        return table(header, rows) if rows else ""

    def _warnings(self) -> str:
        """What a reader must know first: a blind classifier that sees members, controls that fail."""
        lines = []
        for dataset in self.board.datasets():
            outside = {attack: found.outside[0] for attack, found in self.board.controls(dataset).items()}
            if outside.pop(BLIND, 0):
                lines.append(
                    f"**The split of {dataset} is not clean**: a classifier that never sees a model tells members from "
                    "non-members. No AUROC on it can be read as leakage."
                )
            if wrong := [code(attack) for attack, count in outside.items() if count]:
                lines.append(f"**On fresh data of {dataset}, where .5 is right, {', '.join(wrong)} leave it at 99 %.**")
        return "\n\n".join(lines)

    def _distance_header(self, dataset: str) -> str:
        found = self.board.utilities(dataset)
        return f"FD ({distinct(u.space for u in found)}, n = {distinct(u.n for u in found)})" if found else "FD"

    def _utility(self, dataset: str, defense: str) -> list[str]:
        """Distance, fraction and copied share."""
        found = self.board.utilities(dataset, defense)

        def fraction(values: Spread) -> str:
            return rate(values.mean) + (" does not generate" if values.mean > 1 else "")

        shown = [
            (spread(found, lambda u: u.distance), numbers),
            (spread(found, lambda u: u.fraction), fraction),
            (spread(found, lambda u: u.copied), lambda values: f"{100 * values.mean:.1f} %"),
        ]
        return [self._cell(dataset, defense, UTILITY, values, show) for values, show in shown]

    # ── the other tables ──────────────────────────────────────────────────────────────────────────────────────────
    def _settings(self, dataset: str) -> str:
        """The AUROC of each attack at its three settings."""
        rows = []
        for defense in self.board.defenses(dataset):
            for attack in self.board.attacks(dataset):
                if found := self.board.attacked(dataset, defense, attack):
                    row = [code(defense), code(attack)]
                    for choice in CHOICES:
                        area = self.board.auroc(dataset, defense, attack, choice)
                        names = [getattr(m, choice).setting for m in found]
                        chosen = ", ".join(names if len(set(names)) > 1 else names[:1])
                        row.append(f"{self._cell(dataset, defense, attack, area, rates)} at {chosen}")
                    rows.append(row)
        header = ["defense", "attack", "published", "calibrated", "oracle (chosen with hindsight)"]
        return table(header, rows) if rows else "No attack has been run."

    def _training(self, dataset: str) -> str:
        """What the models were given and kept, and what the attacks cost."""
        board, defenses = self.board, self.board.defenses(dataset)
        rows = []
        for defense in defenses:
            models = {record.model["key"]: record for record in board.records(dataset, defense)}
            facts = [models[key].model for key in sorted(models)]
            gap = spread((f for f in facts if None not in _losses(f)), lambda f: _losses(f)[0] - _losses(f)[1])
            row = [code(defense), distinct(f["steps"] for f in facts if f.get("steps"))]
            row.append(distinct(f"{f['epochs_per_member']:g}" for f in facts if f.get("epochs_per_member")))
            rows.append([*row, number(gap.mean) if gap else MISSING])
        training = table(["defense", "steps", "epochs per member", "held-out − member loss"], rows)
        rows = [[code(a), *(self._cost(dataset, d, a) for d in defenses)] for a in board.attacks(dataset)]
        return f"{training}\n\n{table(['evaluations', *map(code, defenses)], rows)}"

    def _cost(self, dataset: str, defense: str, attack: str) -> str:
        costs = [r.cost for r in self.board.records(dataset, defense, attack) if r.attack]
        forwards, vjps = (spread(costs, lambda c, k=kind: c[k]) for kind in ("forwards", "vjps"))  # type: ignore[misc]
        return f"{forwards.mean:g} + {vjps.mean:g}" if forwards and vjps else MISSING

    def _sizes(self) -> str:
        """The sizes of each dataset's parts and the baselines of its distance."""
        parts = ("members", "nonmembers", "reference")
        header = ["dataset", "members", "non-members", "reference", "near-duplicates", "evaluated on"]
        header += [f"FD {name}" for name in BASELINES]
        rows = []
        for dataset in self.board.datasets():
            records, utilities = self.board.records(dataset), self.board.utilities(dataset)
            row = [dataset, *(distinct(r.split[part] for r in records) for part in parts)]
            close = spread([r.split for r in records], lambda s: s["near_duplicates"])
            row.append(f"{close.mean:.1f}" if close else MISSING)
            row.append(distinct(f"{r.attack.members} v {r.attack.nonmembers}" for r in records if r.attack))
            for name in BASELINES:
                values = spread(utilities, lambda u, name=name: getattr(u, name))  # type: ignore[misc]
                row.append(number(values.mean) if values else MISSING)
            rows.append(row)
        return table(header, rows)

    def _versions(self) -> str:
        """Every different value of what the records say of where they were made."""
        found = [record.environment for dataset in self.board.datasets() for record in self.board.records(dataset)]
        names = sorted({name for environment in found for name in environment})
        values = (f"{name} {distinct(e[name] for e in found if name in e)}" for name in names)
        return f"Made with: {' · '.join(values)}." if found else ""


def _tpr(metrics: AttackMetrics, fpr: str) -> float | None:
    """The true positive rate at the calibrated setting."""
    estimate = metrics.calibrated.tpr.get(fpr)
    return estimate.value if estimate else None


def _why(metrics: Iterable[AttackMetrics], fpr: str) -> str:
    """Why a true positive rate is not given, nothing where it is."""
    estimates = (m.calibrated.tpr.get(fpr) for m in metrics)
    reasons = {e.reason for e in estimates if e and e.value is None and e.reason}
    return f"TPR@{100 * float(fpr):g}%FPR is n/a: {'; '.join(sorted(reasons))}." if reasons else ""


def _losses(facts: dict[str, Any]) -> tuple[Any, Any]:
    """The loss on held-out samples and on members, None where it is not known."""
    return facts.get("heldout_loss"), facts.get("member_loss")
