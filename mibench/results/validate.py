"""Checks over a suite's records: every one can be read, is where it belongs, and agrees with itself and the others.

A record of a failed cell is sound: it says what happened, and the board shows it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mibench.components import Attack, Component
from mibench.defenses import Defense
from mibench.errors import MibenchError
from mibench.plugins import code_digest
from mibench.results.compare import compare
from mibench.results.figures import Estimate
from mibench.results.recompute import differences
from mibench.results.record import FORMAT, Record, canonical, digest_of, read_record, record_path

__all__ = ["checked", "moved", "recoded", "validate"]

Versions = dict[tuple[str, str], int]
Known = Callable[[str, str], Component | None]


def validate(folder: Path, versions: Versions | None = None, known: Known = lambda kind, label: None) -> list[str]:
    """Check every file below ``records/``.

    Args:
        folder: of the suite.
        versions: the version of each (kind, name), to find stale records; what is not in it is not judged.
        known: the component that a kind and a label stand for, None where there is none, to see that a record says of it what
            it says of itself.

    Returns:
        One line for each problem, led by the file's path in the folder.
    """
    return checked(folder, versions or {}, known)[0]


def checked(folder: Path, versions: Versions, known: Known) -> tuple[list[str], dict[str, Record]]:
    """As ``validate``, and the records that can be read, by their path in ``records/``."""
    problems: list[str] = []
    records: dict[str, Record] = {}
    root = folder / "records"
    for path in sorted(path for path in root.rglob("*") if path.suffix == ".json" or not path.is_dir()):
        where = path.relative_to(root).as_posix()
        if path.suffix != ".json":
            problems.append(f"records/{where}: is no .json record; remove it")
            continue
        try:
            record = read_record(path)
        except MibenchError as error:
            problems.append(f"records/{where}: {str(error).replace(str(path), 'this file')}")
            continue
        records[where] = record
        found = [*_identity(where, record), *_stale(record, versions), *_numbers(record)]
        found += [] if any(_stale(record, versions)) else _declared(record, known)
        problems += [f"records/{where}: {problem}" for problem in found]
    return problems + [f"records/{line}" for line in _disagreements(records)], records


def moved(suites: dict[str, dict[str, Record]]) -> list[str]:
    """Cells that several suites, or several copies of one, have records of, with other scores at the same versions.

    Args:
        suites: records by their path, by the folder of their suite.
    """
    first: dict[str, tuple[str, Record]] = {}
    problems = []
    for folder, records in suites.items():
        for where, record in records.items():
            name = f"{folder}/records/{where}"
            before, earlier = first.setdefault(record.key, (name, record))
            verdict, why = compare(earlier, record)
            if verdict == "differs":
                problems.append(f"{name}: has moved from {before} without a change of version: {why}")
    return problems


def recoded(records: Iterable[Record], versions: Versions, known: Known) -> list[str]:
    """Components whose code is not that which made their records, at the same version: no fault, but worth a look."""
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        for kind, code in record.code.items():
            label = record.labels.get(kind, "")
            now = known(kind, label)
            if now is not None and not any(_stale(record, versions)) and code_digest(now) not in (code, ""):
                counts[kind, label] += 1
    return [
        f"the code of {kind} {label} has changed since {count} records were made, its version has not; `mibench verify` shows "
        "whether their scores have moved"
        for (kind, label), count in counts.items()
    ]


def _identity(where: str, record: Record) -> Iterator[str]:
    cell = record.cell
    if record.key != digest_of({"format": FORMAT, "weights": record.model.digest, **cell.model_dump(mode="json")}):
        yield "its key is not that of its cell and weights"
    if where != (path := record_path(record.labels, cell.seed, cell.model, cell.checkpoint)):
        yield f"belongs at records/{path}"


def _stale(record: Record, versions: Versions) -> Iterator[str]:
    for kind, spec in record.cell.components().items():
        now = versions.get((kind, spec.name), spec.version)
        if spec.version < now:
            yield f"is stale: {kind} {spec.name} was at version {spec.version} and is now at {now}"


def _numbers(record: Record) -> Iterator[str]:
    """Rates that are none, intervals without their value, and figures that do not follow from others."""
    if not record.attack:
        return
    for setting, pair in record.attack.settings.items():
        if not all(0 <= value <= 1 for value in pair):
            yield f"setting {setting}: an AUROC lies outside [0, 1]"
    yield from differences(record.attack)
    for choice in ("published", "calibrated", "oracle"):
        chosen = getattr(record.attack, choice)
        rates: dict[str, Estimate] = {"AUROC": chosen.auroc}
        rates |= {f"TPR@FPR={fpr}": estimate for fpr, estimate in chosen.tpr.items()}
        for name, rate in rates.items():
            if rate.value is None:
                continue
            if not 0 <= rate.value <= 1:
                yield f"{choice} {name} {rate.value:g} lies outside [0, 1]"
            if rate.interval and not rate.interval[0] <= rate.value <= rate.interval[1]:
                yield f"{choice} {name}: the interval {list(rate.interval)} does not contain {rate.value:g}"


def _declared(record: Record, known: Known) -> Iterator[str]:
    """What the components that a record names would not say of themselves."""
    specs = record.cell.components()
    parts = {kind: known(kind, record.labels[kind]) for kind in specs}
    for kind, part in parts.items():
        if part is not None and part.spec() != specs[kind].model_dump(mode="json"):
            yield f"its {kind} is not what its label {record.labels[kind]} stands for"
    attack, defense, told = parts.get("attack"), parts["defense"], record.attack
    if told is None or not isinstance(attack, Attack):
        return
    if told.tier != attack.tier:
        yield f"its tier is {told.tier}, that of {attack.label} is {attack.tier}"
    if isinstance(defense, Defense) and told.adaptive != defense.meets_adaptively(attack):
        yield f"adaptive is {told.adaptive}, for {attack.label} on {defense.label} it is {not told.adaptive}"
    published = attack.published if attack.published in told.settings else min(told.settings)
    if told.published.setting != published:
        yield f"published is {told.published.setting}, for {attack.label} it is {published}"


def _disagreements(records: dict[str, Record]) -> Iterator[str]:
    """Cells that are there twice, models and splits that are not one, and trainings that do not compare."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    models: defaultdict[str, list[str]] = defaultdict(list)
    splits: defaultdict[str, list[str]] = defaultdict(list)
    recipes: dict[str, str] = {}
    for where, record in records.items():
        keys[record.key].append(where)
        if record.status != "failed":
            models[record.model.key].append(where)
            splits[canonical([record.cell.dataset.model_dump(mode="json"), record.cell.seed])].append(where)
        if record.cell.recipe is not None:
            known = recipes.setdefault(record.labels["dataset"], where)
            if record.cell.recipe != records[known].cell.recipe:
                yield f"{where}: another recipe than records/{known}; run the suite again"
    for first, *others in keys.values():
        yield from (f"{other}: has the same key as records/{first}" for other in others)
    for groups, same, part, fact in ((models, "model", "model", "digest"), (splits, "dataset", "split", "fingerprint")):
        what = {"model": "weights", "split": "split"}[part]
        for first, *others in groups.values():
            its = getattr(getattr(records[first], part), fact)
            for other in others:
                if (mine := getattr(getattr(records[other], part), fact)) != its:
                    yield f"{other}: same {same} as records/{first}, but another {what} ({mine[:12]} and {its[:12]})"
