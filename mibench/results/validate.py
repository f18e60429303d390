"""Checks of a suite's records: each can be read, lies where it belongs, and agrees with itself and with the others.

A record of a failed cell is sound: it says what happened, and the board shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mibench.errors import MibenchError
from mibench.results.claimed import claim_problems
from mibench.results.compare import compare
from mibench.results.figures import AttackMetrics
from mibench.results.known import Known
from mibench.results.recompute import audit_differences, differences
from mibench.results.record import FOREIGN, FORMAT, Record, canonical, digest_of, read_record, record_path

__all__ = ["disagreements", "moved", "validate"]


def validate(folder: Path, known: Known) -> tuple[list[str], dict[str, Record]]:
    """Check every file below ``records/``.

    Args:
        folder: of the suite.
        known: components to compare the records with.

    Returns:
        One line for each problem, led by the file's path in the folder, one on the privacy claims that need an accountant, and
        one on the records whose components are not registered; and the records that can be read, by their path in ``records/``.
    """
    problems: list[str] = []
    records: dict[str, Record] = {}
    root = folder / "records"
    for path in sorted(path for path in root.rglob("*") if path.suffix == ".json" or not path.is_dir()):
        where = path.relative_to(root).as_posix()
        if path.suffix != ".json":
            problems.append(f"records/{where}: this file {FOREIGN}")
            continue
        try:
            record = records[where] = read_record(path)
        except MibenchError as error:
            problems.append(f"records/{where}: {str(error).replace(str(path), 'this file')}")
    known = known.among(records.values())
    for where, record in records.items():
        lines = [*_identity(where, record), *known.problems(record)]
        lines += [*_impossible(record.attack), *differences(record.attack)] if record.attack else []
        lines += audit_differences(record.audit) if record.audit else []
        problems += [f"records/{where}: {line}" for line in lines]
    problems += [f"records/{line}" for line in disagreements(records)]
    problems += claim_problems(records, known)
    return problems + _unknown(records, known), records


def _unknown(records: dict[str, Record], known: Known) -> list[str]:
    """How many records have components that are not registered, in a line; none where all are."""
    missing = [parts for record in records.values() if (parts := known.unknown(record))]
    if not missing:
        return []
    names = sorted({name for parts in missing for several in parts.values() for name in several})
    return [
        f"{len(missing)} record{'s' * (len(missing) > 1)} could not be checked: {', '.join(names)} "
        f"{'are' if len(names) > 1 else 'is'} not registered; install the plugin or give --plugin"
    ]


def moved(suites: dict[str, dict[str, Record]]) -> list[str]:
    """One line for each cell that has other scores in another suite, or another copy of one, at the same versions.

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
                problems.append(
                    f"{name}: differs from {before} at the same versions ({why}); `mibench verify` tells which"
                )
    return problems


def _identity(where: str, record: Record) -> Iterator[str]:
    """A key or a path that is not the cell's."""
    cell = record.cell
    if record.key != digest_of({"format": FORMAT, "weights": record.model.digest, **cell.model_dump(mode="json")}):
        yield "its key does not follow from its cell and weights; run the suite again"
    if where != (path := record_path(record.labels, cell.seed, cell.model, cell.checkpoint)):
        yield f"belongs at records/{path}; move it there"


def _impossible(metrics: AttackMetrics) -> Iterator[str]:
    """Rates outside [0, 1], and intervals without their value."""
    for setting, pair in metrics.settings.items():
        if not all(0 <= value <= 1 for value in pair):
            yield f"setting {setting}: an AUROC lies outside [0, 1]"
    for choice in ("published", "calibrated", "oracle"):
        chosen = getattr(metrics, choice)
        rates = {"AUROC": chosen.auroc} | {f"TPR@FPR={fpr}": rate for fpr, rate in chosen.tpr.items()}
        for name, rate in rates.items():
            if rate.value is not None and not 0 <= rate.value <= 1:
                yield f"{choice} {name} {rate.value:g} lies outside [0, 1]"
            if rate.value is not None and rate.interval and not rate.interval[0] <= rate.value <= rate.interval[1]:
                yield f"{choice} {name}: the interval {list(rate.interval)} does not contain {rate.value:g}"


def disagreements(records: dict[str, Record]) -> Iterator[str]:
    """A line for each record that does not belong with an earlier one: a second record of one cell; other weights of the same
    model; another split of the same dataset and seed; another recipe of the same dataset.
    """
    yield from _unlike(records, "has the same key as", lambda r: r.key, id)
    made = {where: record for where, record in records.items() if record.split}
    yield from _unlike(
        made, "has other weights of the same model than", lambda r: r.model.key, lambda r: r.model.digest
    )
    yield from _unlike(
        made, "has another split of the same dataset than", _data, lambda r: r.split and r.split.fingerprint
    )
    trained = {where: record for where, record in records.items() if record.cell.recipe is not None}
    yield from _unlike(trained, "has another recipe than", lambda r: r.labels["dataset"], lambda r: r.cell.recipe)


def _unlike(
    records: dict[str, Record], problem: str, group: Callable[[Record], str], fact: Callable[[Record], object]
) -> Iterator[str]:
    """A line for each record whose fact is not that of the first record of its group."""
    first: dict[str, str] = {}
    for where, record in records.items():
        known = first.setdefault(group(record), where)
        if fact(record) != fact(records[known]):
            yield f"{where}: {problem} records/{known}; run the suite again"


def _data(record: Record) -> str:
    """Dataset and seed, which give the split."""
    return canonical([record.cell.dataset.model_dump(mode="json"), record.cell.seed])
