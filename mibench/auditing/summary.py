"""From the records of an audit to its result: headline, figures, the score of each file."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mibench.auditing.checkpoint import parameters_of
from mibench.auditing.figures import attack_row, set_level, split_tells, worst_row
from mibench.auditing.files import AuditedFiles, Side
from mibench.auditing.given import Given
from mibench.auditing.report import Pictures, write_report
from mibench.auditing.result import AttackRow, Audit, Leak, SplitRow
from mibench.auditing.settings import AuditSettings
from mibench.data import Split, calibration_size
from mibench.diffusion.model import Cost, Model
from mibench.diffusion.sampling import sample
from mibench.errors import MibenchError
from mibench.evaluate.environment import environment
from mibench.files import write_text
from mibench.metrics.auroc import auroc_score_interval
from mibench.results.record import Record, record_path, write_record
from mibench.results.store import Store
from mibench.seeds import generator

__all__ = ["Found", "summarise"]

LEAKS = 12
"""How many files are shown."""

TIERS = {
    "samples": "to whoever sees what it generates",
    "network": "to whoever can ask its network",
    "weights": "to whoever has its weights",
}


@dataclass
class Found:
    """What an audit has found so far.

    Attributes:
        settings, given, files, data, model: what was audited.
        loading: what the loading check measured.
        refused: attacks that cannot run, with the reason.
        blind, records: of the split check and of the attacks.
        controls: records by kind of model.
        failures: attacks that failed, with the reason.
    """

    settings: AuditSettings
    given: Given
    files: AuditedFiles
    data: Split
    model: Model
    loading: dict[str, Any]
    refused: dict[str, str]
    blind: list[Record] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    controls: dict[str, list[Record]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def split_rows(self) -> list[SplitRow]:
        """The split check."""
        count = sum(record.attack is not None for record in self.blind)
        rows = []
        for record in self.blind:
            name = record.labels["attack"]
            if record.attack is None:
                rows.append(SplitRow(baseline=name, auroc=None, reason=record.reason))
                continue
            area, interval = record.attack.calibrated.auroc.value, auroc_score_interval(*record.attack.ranked())
            tells = split_tells(record.attack, count)
            rows.append(SplitRow(baseline=name, auroc=area, interval=interval, tells=tells))
        return rows

    def split_lines(self) -> Iterator[str]:
        """The split check in words."""
        for row in self.split_rows():
            if row.auroc is None or row.interval is None:
                yield f"split check: {row.baseline} n/a ({row.reason})"
            else:
                what = "tells the sides apart without the model" if row.tells else "finds no difference"
                low, high = row.interval
                yield f"split check: {row.baseline} AUROC {row.auroc:.3f} [{low:.3f}, {high:.3f}] {what}"

    def attack_rows(self) -> list[AttackRow]:
        """The attacks with their controls, the strongest first."""
        done = [(record, record.attack) for record in self.records if record.attack]
        rows = []
        for record, metrics in done:
            row = attack_row(record, metrics, len(done))
            controls = {kind: _auroc_of(self.controls.get(kind, []), row.attack) for kind in ("exact", "fresh")}
            rows.append(row.model_copy(update=controls))
        return sorted(rows, key=lambda row: -row.auroc)

    def told(self) -> dict[str, str]:
        """What the network was told of each file, for a conditional model."""
        if (captions := self.settings.captions) is not None:
            return {"conditions": f"captions ({captions})"}
        return {} if self.settings.labels is None else {"conditions": f"labels ({self.settings.labels})"}

    def sides(self) -> tuple[Side, Side, Side]:
        """Members, non-members and reference in the order of the split."""
        return self.files.parts_of(generator(self.settings.seed, "split"))


def _auroc_of(records: list[Record], attack: str) -> float | None:
    found = [r.attack.calibrated.auroc.value for r in records if r.attack and r.labels["attack"] == attack]
    return found[0] if found else None


def summarise(found: Found, store: Store, say: Callable[[str], None], seconds: float) -> Path:
    """Write records/, scores.csv, audit.json, report.md and report.html; the folder."""
    split, attacks = found.split_rows(), found.attack_rows()
    if not attacks:
        reasons = [*found.failures.values(), *(record.reason or "" for record in found.records)]
        raise MibenchError(f"no attack could be run: {reasons[0] if reasons else 'none was left'}")
    out = found.settings.out.absolute()
    if (out / "audit.json").is_file():  # an older audit, whose records are none of this one
        shutil.rmtree(out / "records", ignore_errors=True)
    for record in [*found.blind, *found.records, *(r for records in found.controls.values() for r in records)]:
        facts = record.cell
        write_record(out / "records" / record_path(record.labels, facts.seed, facts.model, facts.checkpoint), record)
    worst = worst_row(attacks)
    metrics = {record.labels["attack"]: record.attack for record in found.records if record.attack}
    scores = _scores(found, attacks, store)
    write_text(out / "scores.csv", _csv(found, scores))
    drawn = _drawn(found, say)
    leaks, pictures = _leaks(found, worst, scores, drawn)
    verdict, headline = _headline(split, worst)
    missing = {r.labels["attack"]: r.reason or "" for r in found.records if r.attack is None}
    audit = Audit(
        headline=headline,
        verdict=verdict,
        model=_model_facts(found),
        files=_file_facts(found),
        loading=found.loading,
        split=tuple(split),
        attacks=tuple(attacks),
        worst=worst.attack,
        set_level=set_level(attacks, metrics),
        leaks=tuple(leaks),
        not_applicable=found.refused | missing,
        warnings=tuple(_warnings(found, attacks)),
        environment=environment(found.model.device.type).model_dump(mode="json"),
        seconds=round(seconds, 1),
    )
    write_text(out / "audit.json", audit.model_dump_json(indent=1) + "\n")
    write_report(out, audit, pictures)
    return out


def _headline(split: list[SplitRow], worst: AttackRow) -> tuple[Any, str]:
    """Verdict and headline."""
    telling = [row for row in split if row.tells and row.auroc is not None]
    if telling:
        first = max(telling, key=lambda row: abs((row.auroc or 0.5) - 0.5))
        return "split", (
            f"The files alone tell members from non-members: {first.baseline}, which never sees the model, reaches an AUROC "
            f"of {first.auroc:.3f}. The AUROCs of attacks are no evidence of what the model leaks; choose non-members from "
            "the source that the members are from, processed in the same way."
        )
    low, high = worst.wide_interval
    area = f"AUROC {worst.auroc:.3f} [{low:.3f}, {high:.3f}]"
    if low > 0.5:
        rates = [(float(rate), value) for rate, (value, _) in worst.tpr.items() if value is not None]
        rate = f"; TPR {min(rates)[1]:.2f} at {100 * min(rates)[0]:g} % FPR" if rates else ""
        return (
            "leaks",
            f"The model gives its training files away {TIERS[worst.tier]}: {worst.attack} reaches {area}{rate}.",
        )
    return "nothing found", (
        f"No attack tells members from non-members: the largest AUROC is that of {worst.attack}, {area}. "
        "A stronger attack may yet."
    )


def _warnings(found: Found, attacks: list[AttackRow]) -> Iterator[str]:
    """What a reader must know besides."""
    data = found.data
    yield from data.notes
    if data.near_duplicates:
        yield (
            f"{data.near_duplicates} of {len(data.nonmembers)} non-members equal a member, or nearly; no attack can tell "
            "these apart"
        )
    for what, side in zip(("members", "non-members", "reference"), found.sides(), strict=True):
        if copies := len(side.digests) - len(set(side.digests)):
            yield (
                f"{copies} of {len(side.digests)} {what} are copies of another; intervals take them for files of their own"
            )
    for name, reason in found.failures.items():
        yield f"{name} failed: {reason}"
    for row in attacks:
        if row.fresh is not None and abs(row.fresh - 0.5) > 0.2:
            yield f"{row.attack} reads {row.fresh:.2f} on a model of other data, where .5 is right"


def _model_facts(found: Found) -> dict[str, Any]:
    given, checkpoint = found.given, found.given.checkpoint
    return {
        "title": given.label,
        "digest": given.spec()["options"]["model"],
        **checkpoint.facts,
        **found.told(),
        "prediction": checkpoint.prediction,
        "steps": checkpoint.steps,
        "shape": list(checkpoint.shape),
        "parameters": parameters_of(checkpoint.module),
    }


def _file_facts(found: Found) -> dict[str, Any]:
    members, nonmembers, reference = found.sides()
    return {
        "members": {"path": str(members.path), "files": len(members.names)},
        "nonmembers": {"path": str(nonmembers.path), "files": len(nonmembers.names)},
        "reference": {"path": str(reference.path), "files": len(reference.names)},
        "fingerprint": found.data.fingerprint,
        "near_duplicates": found.data.near_duplicates,
    }


def _scores(found: Found, attacks: list[AttackRow], store: Store) -> dict[str, tuple[Tensor, Tensor]]:
    """The scores of members and non-members at the calibrated setting of each attack, in the order of the split."""
    found_scores = {}
    for row in attacks:
        stored, _ = store.load("scores", row.key)
        found_scores[row.attack] = (stored[f"members/{row.setting}"], stored[f"nonmembers/{row.setting}"])
    return found_scores


def _csv(found: Found, scores: dict[str, tuple[Tensor, Tensor]]) -> str:
    """A row for each file that was scored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "side", "part", *scores])
    members, nonmembers, _ = found.sides()
    for index, (what, side) in enumerate((("member", members), ("nonmember", nonmembers))):
        columns = [pair[index].tolist() for pair in scores.values()]
        cut = calibration_size(side.x)
        for k, name in enumerate(side.names):
            part = "calibration" if k < cut else "evaluation"
            writer.writerow([name, what, part, *(repr(column[k]) for column in columns)])
    return text.getvalue()


def _drawn(found: Found, say: Callable[[str], None]) -> Tensor | None:
    """Samples of the model, (S, *item) float32; None where none are wanted or the sampler fails."""
    count = found.settings.samples
    if not count:
        return None
    model = found.model
    model.cost, model.cache = Cost(), None
    chance, parts = generator(found.settings.seed, "shown"), []
    try:
        with torch.no_grad():
            for done in range(0, count, found.settings.batch):
                size = min(found.settings.batch, count - done)
                if model.is_conditional:
                    model.under(found.data.draw_prompts(size, chance))
                parts.append(sample(model, size, chance, guidance=found.settings.guidance))
    except Exception as error:
        say(f"no samples could be drawn: {error}")
        return None
    return torch.cat(parts).float().cpu()


def _leaks(
    found: Found, worst: AttackRow, scores: dict[str, tuple[Tensor, Tensor]], drawn: Tensor | None
) -> tuple[list[Leak], list[Pictures]]:
    """The evaluated members with the largest scores of the worst known attack, and what is shown of them."""
    members = found.sides()[0]
    own, other = scores[worst.attack]
    cuts = calibration_size(own), calibration_size(other)
    order = own[cuts[0] :].argsort(descending=True)[:LEAKS] + cuts[0]
    leaks, pictures = [], []
    for k in order.tolist():
        x, above = found.data.members[k], (other[cuts[1] :] < own[k]).double().mean().item()
        near, distance = None, None
        if drawn is not None:
            errors = (drawn - x).flatten(1).square().mean(1)
            near, distance = drawn[int(errors.argmin())], errors.min().sqrt().item()
        leaks.append(Leak(file=members.names[k], score=own[k].item(), above=above, distance=distance))
        grid = found.files.modality.grid
        pictures.append(Pictures(grid(x[None]), None if near is None else grid(near[None])))
    return leaks, pictures
