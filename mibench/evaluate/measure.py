"""Measuring all cells of one model in one process: the order in which things are done."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from mibench.diffusion.model import Cost, Model
from mibench.evaluate import scoring
from mibench.evaluate.attack_run import AttackRun, prepare_attack
from mibench.evaluate.environment import environment
from mibench.evaluate.guarding import CellIsolation
from mibench.evaluate.partial_scores import PartialScores
from mibench.evaluate.record import Measurement, build_record
from mibench.evaluate.report import Report
from mibench.evaluate.shadows import Shadows
from mibench.evaluate.target import Target
from mibench.evaluate.utility import utility_metrics
from mibench.results.attack_metrics import attack_metrics
from mibench.results.audit_metrics import audit_metrics
from mibench.results.facts import Environment
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.source import code_changed, code_digest
from mibench.suite.cells import Cell

__all__ = ["measure"]

SAVE_EVERY = 60.0


def measure(
    cells: list[Cell],
    store: Store,
    device: str,
    report: Report,
    given: tuple[Model, dict[str, Any]] | None = None,
    save_every: float = SAVE_EVERY,
) -> None:
    """Measure the cells of one model.

    Every attack first learns from the calibration samples. Then the samples are scored batch by batch, members and
    non-members mixed, all attacks on one batch before the next, so that evaluations of the network that several attacks
    need are computed once. Audits score the canaries in the same way. Stored scores are not computed again.

    Args:
        cells: of one model, which is in the store.
        store: takes scores and samples.
        device: "cpu" or "cuda".
        report: takes a record or a failure for each cell.
        given: a model that is audited, with what is known of it; None where the store holds the model.
        save_every: seconds between two times at which unfinished scores are saved.

    Raises:
        MibenchError: where the model cannot be opened, or an attack changed it and it cannot be put back.
    """
    target = Target(cells[0], store, device, given)
    shadows = Shadows(target)
    isolation = CellIsolation(cells, target, shadows, report)
    _say_notes(target, report)
    runs: list[AttackRun] = []
    for index, cell in enumerate(cells):
        with isolation.stage(index, 0):
            if cell.attack is None:
                report.done(index, build_record(cell, target, _measure_samples(cell, target, report)))
            elif stored := _stored_measurement(cell, target):
                report.done(index, build_record(cell, target, stored))
            else:
                run = prepare_attack(index, cell, target, shadows)
                run.learn(*target.calibration())
                runs.append(run)
    target.cache.clear()
    for audit in (False, True):
        if chosen := [run for run in runs if run.attack.audits == audit]:
            _score(chosen, target.sides(audit), cells, target, isolation, report, save_every)


def _score(
    runs: list[AttackRun],
    sides: tuple[Tensor, Tensor],
    cells: list[Cell],
    target: Target,
    isolation: CellIsolation,
    report: Report,
    save_every: float,
) -> None:
    """Score all samples of both sides, those trained on first, with all attacks; then store and report the results."""
    samples = torch.cat(sides)
    order = torch.randperm(len(samples), generator=generator(target.cell.seed, "order of scoring"))
    batches = torch.split(order, scoring.BATCH)
    total, done = len(runs) * len(batches), 0
    partials = {
        run.cell_index: _partial(run, cells, target, len(batches), report, save_every)
        for run in runs
        if run.cell_index not in isolation.ended
    }
    scored = {run.cell_index: partials[run.cell_index].resume(run) for run in runs if run.cell_index in partials}
    for stage, batch in enumerate(batches, start=1):
        x = samples[batch].to(target.device, torch.float64)
        for run in runs:
            done += 1
            if run.cell_index in isolation.ended or stage <= scored[run.cell_index]:
                continue
            with isolation.stage(run.cell_index, stage):
                run.score(x.clone(), batch)
                partials[run.cell_index].save(run, stage)
            report.progress(done, total)
        target.cache.clear()
    if target.cache.requested:
        counts = f"{target.cache.requested} evaluations of the network requested, {target.cache.computed} computed"
        report.say(f"{target.cell.model_title}: {counts}")
    again = scoring.scored_again(order)
    x = samples[again].to(target.device, torch.float64)
    moved = scoring.with_other_last_bits(x, generator(target.cell.seed, "last bits"))
    for run in (run for run in runs if run.cell_index not in isolation.ended):
        with isolation.stage(run.cell_index, len(batches) + 1):
            facts, cell = run.facts(), cells[run.cell_index]  # before more is evaluated
            result, count = run.result(order), len(sides[0])
            if unstable := run.unstable(result, count, again, x.clone(), moved.clone()):
                facts["unstable"] = unstable
            facts |= {
                "code": code_digest(run.attack),
                "environment": environment(target.device).model_dump(mode="json"),
            }
            scores: dict[str, torch.Tensor] = {}
            for setting, values in result.items():
                scores |= {
                    f"members/{setting}": values[:count].clone(),
                    f"nonmembers/{setting}": values[count:].clone(),
                }
            target.store.save("scores", cell.key(target.weights), scores, {"spec": cell.spec(), **facts})
            partials[run.cell_index].delete()
            stored = _stored_measurement(cell, target)
            assert stored is not None
            report.done(run.cell_index, build_record(cell, target, stored))


def _partial(
    run: AttackRun, cells: list[Cell], target: Target, batches: int, report: Report, every: float
) -> PartialScores:
    """The saved scores of an unfinished run."""
    facts = {
        "code": code_digest(run.attack),
        "batches": batches,
        "batch": scoring.BATCH,
        "device": target.device,
        "torch": torch.__version__,
    }
    return PartialScores(target.store, cells[run.cell_index].key(target.weights), facts, report.say, every)


def _stored_measurement(cell: Cell, target: Target) -> Measurement | None:
    """What stored scores say of a cell; None where there are none, or other code of the attack gave them."""
    key = cell.key(target.weights)
    if cell.attack is None or not target.store.has("scores", key):
        return None
    scores, facts = target.store.load("scores", key)
    if code_changed(facts.get("code"), code_digest(cell.attack)):
        target.store.remove("scores", key)
        return None
    attack, digest, unstable = cell.attack, facts["digest"], facts.get("unstable")
    return Measurement(
        audit_metrics(scores, target.data.included, attack, cell.defense, digest, unstable)
        if attack.audits
        else attack_metrics(scores, target.calibration_sizes, attack, cell.defense, digest, unstable),
        cost=Cost(facts["forwards"], facts["vjps"]),
        seconds=facts["seconds"],
        fit_cost=Cost(*facts["fit"]) if "fit" in facts else None,
        shadow_cost=Cost(*facts["shadows"]) if "shadows" in facts else None,
        environment=Environment.model_validate(facts["environment"]) if "environment" in facts else None,
        code=facts.get("code"),
    )


def _measure_samples(cell: Cell, target: Target, report: Report) -> Measurement:
    """Draw, store and measure samples of the model."""
    began, model = time.monotonic(), target.model_for(cell)
    metrics = utility_metrics(cell, model, target.data, target.store, cell.key(target.weights), report.say)
    return Measurement(metrics, cost=model.cost, seconds=time.monotonic() - began)


def _say_notes(target: Target, report: Report) -> None:
    data, title = target.data, target.cell.model_title
    for note in data.notes:
        report.say(f"{title}: {note}")
    if data.near_duplicates:
        report.say(
            f"{target.cell.labels['dataset']}: {data.near_duplicates} of {len(data.nonmembers)} non-members equal a member, "
            "or nearly; no attack can tell these apart"
        )
