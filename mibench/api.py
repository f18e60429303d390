"""The Python interface: build components by name, run a cell, and read what is stored of its record."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mibench.components import Attack, Dataset
from mibench.defenses import Defense
from mibench.errors import MibenchError, UsageError
from mibench.kinds import Device, ModelKind
from mibench.names import build
from mibench.plugins import files_of, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mibench.auditing.result import Audit
    from mibench.diffusion.model import Model
    from mibench.results.figures import AttackMetrics
    from mibench.results.record import Record
    from mibench.results.store import Store

    Array = NDArray[np.float64]

__all__ = ["attack", "audit", "dataset", "defense", "model", "roc", "run", "scores"]


def dataset(name: str) -> Dataset:
    """The dataset that a name such as "digits:members=200" stands for; UsageError for a mistake."""
    component = build(load(), "dataset", name)
    assert isinstance(component, Dataset)
    return component


def defense(name: str) -> Defense:
    """The defense that a name such as "hold3" stands for; UsageError for a mistake."""
    component = build(load(), "defense", name)
    assert isinstance(component, Defense)
    return component


def attack(name: str) -> Attack:
    """The attack that a name such as "pia:p=2" stands for; UsageError for a mistake."""
    component = build(load(), "attack", name)
    assert isinstance(component, Attack)
    return component


def run(
    defense: str,
    attack: str,
    dataset: str = "digits",
    seed: int = 0,
    model: ModelKind = "trained",
    recipe: str | Mapping[str, Any] = "",
    utility: str | Mapping[str, Any] = "",
    *,
    plugins: tuple[str | Path, ...] = (),
    store: str | Path | None = None,
    device: Device = "auto",
    workers: int = 1,
    time_limit: float | None = 86400.0,
    again: bool = False,
) -> Record:
    """Run one cell, and the utility of its model, as ``mibench run`` does; return the record of the cell.

    Jobs run in processes of their own, which end with this one. Nothing is printed. It may be called from a script without
    ``if __name__ == "__main__"``, from an interactive session, and from several threads.

    Args:
        defense, attack, dataset: names, as on the command line.
        seed: of split, training and noise.
        model: "trained", "exact" or "fresh".
        recipe: options of the training, such as "steps=2000,width=128" or {"steps": 2000, "width": 128}.
        utility: options of ``mibench.suite.cells.Utility``, such as "samples=300,evaluations=20", or as a dict.
        plugins: loose plugin files.
        store: folder of the artifacts; None for the default one.
        device: "cpu", "cuda", or "auto" for CUDA where it is available.
        workers: jobs at a time, one torch thread each.
        time_limit: seconds for the cell and for each training; None for no limit.
        again: whether a record is made anew that was made by other code of dataset, defense or attack at the same version;
            otherwise it is returned, with a UserWarning.

    Raises:
        UsageError: a name, an option or a folder is wrong.
        MibenchError: the cell failed, with the reason.
    """
    from mibench.jobs.local import Local
    from mibench.jobs.options import Event, JobOptions
    from mibench.jobs.run import run_suite
    from mibench.results.record import read_record
    from mibench.suite.loose import loose_suite
    from mibench.suite.suite import loose_records

    _check(device, workers, time_limit)
    for what, name in {"defense": defense, "attack": attack, "dataset": dataset}.items():
        if not isinstance(name, str):
            raise UsageError(f"{what} {str(name)[:60]!r}: give the name of one {what} as text")
    if not isinstance(seed, int):
        raise UsageError(f"seed {str(seed)[:60]!r}: give one whole number")
    artifacts = _store(store, write=True)
    suite = loose_suite([dataset], [defense], [attack], [seed], model, recipe, utility)
    how = JobOptions(device, files_of(plugins), time_limit, again=again)

    def warn(event: Event) -> None:
        if event.kind == "edited":
            warnings.warn(event.message, stacklevel=4)

    outcome = run_suite(suite, loose_records(artifacts.root, suite), artifacts, Local(workers), how, warn)
    (cell,) = (cell for cell in outcome.plan.cells if cell.attack)
    if cell in outcome.failures:
        raise MibenchError(f"{cell.title}: {outcome.failures[cell]}")
    return read_record(outcome.plan.path(cell))


def audit(
    model: str | Path,
    members: str | Path,
    nonmembers: str | Path,
    *,
    attacks: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Audit:
    """Audit a model that someone else has trained, as ``mibench audit`` does, in a process of its own.

    Args:
        model: folder of a diffusers model, or "file.py:function", which returns a ``mibench.Checkpoint``.
        members, nonmembers: folders, zips or tars of files that it was trained on, and that it was not.
        attacks: names such as "pia:p=2"; by default all that need no training.
        say: takes a line on what was found so far.
        progress: takes a stage, the steps done and the steps in all.
        options: those of the command line, by the same names, such as ``reference="more/"``, ``data="speech:frames=80"``,
            ``range=(0, 1)``, ``limit=1000``, ``out="audit"``, ``controls=False``.

    Returns:
        The audit: ``headline``, ``attacks``, ``split``, ``records``, ``warnings``, and ``scores``, a DataFrame of files.

    Raises:
        UsageError: the model or the files are not what they should be, or an option is wrong; nothing was attacked.
        MibenchError: the audit failed.
    """
    from mibench.auditing.process import audit_apart
    from mibench.auditing.settings import AuditSettings
    from mibench.names import validated

    given = {"model": str(model), "members": members, "nonmembers": nonmembers, "attacks": tuple(attacks), **options}
    flags = {name: f"--{name.replace('_', '-')}" for name in AuditSettings.model_fields}
    settings = validated(AuditSettings, given, "audit", flags)
    return audit_apart(settings, say or (lambda line: None), progress or (lambda stage, done, total: None))


def _check(device: Any, workers: Any, time_limit: Any) -> None:
    """Refuse what the command line would refuse.

    Raises:
        UsageError: naming the argument.
    """
    if device not in get_args(Device):
        raise UsageError(f"device {device!r}: give one of {', '.join(get_args(Device))}")
    if not isinstance(workers, int) or not 1 <= workers <= 1024:
        raise UsageError(f"workers {workers!r}: give a number from 1 to 1024")
    if time_limit is not None and not (isinstance(time_limit, (int, float)) and time_limit > 0):
        raise UsageError(f"time_limit {time_limit!r}: give seconds above 0, or None")


def roc(record: Any) -> tuple[Array, Array]:
    """The ROC curve at the calibrated setting on the evaluation samples, from the ranks in the record.

    Args:
        record: a Record, the path of one, or a row of ``mibench.records``.

    Returns:
        FPR and TPR, (K,) each, from (0, 0) to (1, 1); the area under the straight lines between them is the AUROC.

    Raises:
        MibenchError: where the record has no scores of an attack.
    """
    import numpy as np
    from sklearn.metrics import roc_curve

    members, nonmembers = _attacked(_record(record)).ranked()
    labels = np.arange(len(members) + len(nonmembers)) < len(members)
    fpr, tpr, _ = roc_curve(labels, np.concatenate([members, nonmembers]), drop_intermediate=False)
    return fpr, tpr


def scores(record: Any, store: str | Path | None = None) -> dict[str, tuple[Array, Array]]:
    """The raw scores of a record from the store, larger for "member": of members (M,) and of non-members (N,), by setting.

    They are in the order of the split. The first fifth of each is for calibration (``mibench.data.calibration_size``); the
    figures of the record are those of the rest.

    Args:
        record: a Record, the path of one, or a row of ``mibench.records``.
        store: folder of the artifacts; None for the default one.

    Raises:
        MibenchError: where the record has no scores of an attack, or the store does not hold them.
    """
    found, artifacts = _record(record), _store(store)
    metrics = _attacked(found)
    _check_stored(artifacts, "scores", found.key, metrics.scores, found)
    arrays = {name: values.double().numpy() for name, values in artifacts.load("scores", found.key)[0].items()}
    return {setting: (arrays[f"members/{setting}"], arrays[f"nonmembers/{setting}"]) for setting in metrics.settings}


def model(
    record: Any, store: str | Path | None = None, device: str = "cpu", plugins: tuple[str | Path, ...] = ()
) -> Model:
    """The model of a record, with the stored weights, as its defense releases it to attackers.

    Args:
        record: a Record, the path of one, or a row of ``mibench.records``.
        store: folder of the artifacts; None for the default one.
        device: "cpu" or "cuda".
        plugins: loose plugin files.

    Raises:
        MibenchError: where the store does not hold the weights, or a component is of another version.
    """
    from mibench.diffusion.model import Cost
    from mibench.evaluate.target import Target
    from mibench.suite.recorded import cell_of

    found, artifacts = _record(record), _store(store)
    cell = cell_of(found, load(files_of(plugins)))
    _check_stored(artifacts, "models", cell.model_key, found.model.digest, found)
    released = Target(cell, artifacts, device).released.counted(Cost())
    released.cache = None
    return released


def _record(given: Any) -> Record:
    """A record that is given as such, by its path, or as a row of a frame of records."""
    from mibench.results.record import Record, read_named_record

    if isinstance(given, (str, Path)):
        return read_named_record(Path(given))
    record = given if isinstance(given, Record) else getattr(given, "record", None)
    if isinstance(record, Record):
        return record
    raise UsageError(f"expected a Record, the path of one, or a row of mibench.records, got {type(given).__name__}")


def _attacked(record: Record) -> AttackMetrics:
    """The figures of a record's attack."""
    if record.attack is None:
        raise MibenchError(f"{record!r} holds no scores of an attack; take the record of another cell")
    return record.attack


def _store(root: str | Path | None, write: bool = False) -> Store:
    from mibench.results.store import Store, default_root

    return Store(Path(root or default_root()).absolute(), write)


def _check_stored(store: Store, kind: str, key: str, digest: str, record: Record) -> None:
    """MibenchError unless the store holds an artifact with the digest that a record names."""
    if not store.has(kind, key) or store.meta(kind, key)["digest"] != digest:
        raise MibenchError(
            f"{record.title}: the store {store.root} does not hold the {kind} of this record; run `mibench run --record "
            "FILE` with the record's file, and take the record that it writes"
        )
