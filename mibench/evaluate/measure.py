"""Attacking a stored model, all attacks at once, and measuring its samples; each cell ends in a record."""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from mibench.context import Context, Shadow
from mibench.data import Split, calibration_size, split
from mibench.diffusion.denoisers import Denoiser, ExactDenoiser
from mibench.diffusion.model import Cost, EvaluationCache, Model
from mibench.diffusion.sampling import sample
from mibench.errors import Diverged, MibenchError, NotApplicable, one_line
from mibench.evaluate.isolation import isolated
from mibench.evaluate.models import open_model, training_data
from mibench.evaluate.utility import utility_metrics
from mibench.plugins import code_digest
from mibench.results.attack_metrics import attack_metrics
from mibench.results.facts import CellFacts, CostFacts, Environment, ModelFacts, SplitFacts
from mibench.results.record import Record
from mibench.results.store import Store
from mibench.seeds import generator
from mibench.suite.cells import Cell

__all__ = ["Report", "measure"]

BATCH = 512
VERSIONS = {name: version(name) for name in ("mibench", "torch", "numpy", "scipy", "scikit-learn")}
# So many samples are scored once more, in a batch of their own. Of a score that is its sample's own none moves, but for trees,
# which see rounding as a step; of one that is relative to its batch nearly all do.
AGAIN, FLIPS, TOLERANCE = 8, 2, 0.01  # samples, how many of them may move, and by which share of the scores' deviation


@dataclass(frozen=True)
class Report:
    """How a worker tells its driver of its cells, by their place in the list.

    Attributes:
        begin: a cell is being worked on; should the process die, it was this one.
        done: a cell's record.
        failed: a cell's failure.
        progress: steps done and steps in all.
        say: a line for the log of the run.
    """

    begin: Callable[[int], None]
    done: Callable[[int, Record], None]
    failed: Callable[[int, Exception], None]
    progress: Callable[[int, int], None]
    say: Callable[[str], None]


@dataclass
class _Attacker:
    """One attack cell under way."""

    place: int
    cell: Cell
    model: Model
    ctx: Context
    shadows: Cost
    fit: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    rows: dict[str, list[Tensor]] = field(default_factory=dict)


class _Bench:
    """The cells of one model."""

    def __init__(self, cells: list[Cell], store: Store, device: str, report: Report) -> None:
        self.cells, self.store, self.device, self.report = cells, store, device, report
        self.target = cells[0]
        self.data: Split = split(self.target.dataset, self.target.seed)
        for note in self.data.notes:
            report.say(f"{self.target.model_title}: {note}")
        self.cache = EvaluationCache()
        self.model, self.meta = open_model(self.target, store, self.data, device, self.cache)
        self.parts = {"members": self.data.members, "nonmembers": self.data.nonmembers}
        self.cuts = {name: calibration_size(part) for name, part in self.parts.items()}
        self._shadows: dict[tuple[str, int], Shadow] = {}
        self._lent: dict[tuple[str, int], tuple[Denoiser, Tensor]] = {}  # shadow models as they were
        self._released = self._release(self.model)
        self._weights = copy.deepcopy(self._released.denoiser)

    def calibration(self) -> tuple[Tensor, Tensor]:
        """Members and non-members that attacks may learn from."""
        members, nonmembers = (self.parts[name][:cut].to(self.device, torch.float64) for name, cut in self.cuts.items())
        return members, nonmembers

    def released(self, cell: Cell) -> Model:
        """The model as its defense releases it, for one cell: the answers are those of the others, the counts are not.

        Raises:
            NotApplicable: where the cell's attack needs weights and there are none.
        """
        if cell.attack is None:
            return self._released.for_access("weights", "utility")
        denoiser = self._released.denoiser
        if cell.attack.access == "weights" and not isinstance(denoiser, torch.nn.Module):
            exact = isinstance(denoiser, ExactDenoiser)
            raise NotApplicable("the exact model has no weights" if exact else "this defense releases no weights")
        return self._released.for_access(cell.attack.access, f"attack {cell.attack.label}")

    def _release(self, model: Model) -> Model:
        """Release a copy, with randomness of its own; answers are shared only where it is the model as it was trained."""
        own = copy.deepcopy(model.denoiser)
        with isolated(self.target.seed, "release"):
            released = self.target.defense.release(Model(model.process, own, model.shape, model.device, model.cache))
        if released.denoiser is not own or not _same(own, model.denoiser):
            released.cache = None  # its answers may be random, or counted
        return released

    def shadow(self, cell: Cell) -> Shadow:
        """A shadow model: from the store, or the exact one where the target is exact."""
        assert cell.shadow is not None
        if cell.shadow not in self._shadows:
            drawn = training_data(cell, self.data)
            # in an order that tells nothing of whose they are
            members = torch.tensor(sorted(drawn.flatten(1).tolist())).view_as(drawn)
            if cell.model_kind == "trained":
                model = open_model(cell, self.store, self.data, self.device, self.cache)[0]
            else:
                points = members.to(self.device)
                model = Model(self.model.process, ExactDenoiser(points), self.data.shape, self.device, self.cache)
            released = self._release(model)
            self._shadows[cell.shadow] = Shadow(released, members)
            self._lent[cell.shadow] = copy.deepcopy(released.denoiser), members.clone()
        return self._shadows[cell.shadow]

    def context(self, cell: Cell, model: Model, cost: Cost) -> Context:
        """What this cell's attack is given; ``cost`` counts what it asks of shadow models."""
        wanted = {shadow.shadow: shadow for shadow in cell.shadows()}

        def shadows(count: int, kind: str) -> list[Shadow]:
            try:
                known = [self.shadow(wanted[kind, k]) for k in range(count)]  # type: ignore[index]
            except KeyError:
                raise MibenchError(
                    f"attack {cell.labels['attack']} asked for {count} {kind} shadow models; its shadow_models() said "
                    f"{len(wanted)}"
                ) from None
            return [replace(shadow, model=_counted(shadow.model, cost)) for shadow in known]

        def draw(count: int) -> Tensor:
            own = _counted(self._released, model.cost)
            own.cache = None
            return sample(own, count, Context(cell.seed).generator("samples"))

        auxiliary = self.data.reference.to(self.device, torch.float64)
        return Context(
            cell.seed, self.device, modality=cell.dataset.modality, auxiliary=auxiliary, draw=draw, shadows=shadows
        )

    @contextmanager
    def guarded(self, place: int, stage: int, running: list[_Attacker] | None = None) -> Iterator[None]:
        """What goes wrong inside costs this cell alone; the next one finds weights and global state as they were."""
        self.report.begin(place)
        try:
            with isolated(self.target.seed, self.cells[place].labels["attack"], stage):
                yield
            if not _same(self._released.denoiser, self._weights):
                raise MibenchError(f"{self.cells[place].labels['attack']} changed the model that it was given")
            if self.cells[place].shadows() and not self._sound_shadows():
                raise MibenchError(f"{self.cells[place].labels['attack']} changed a shadow model that others use too")
        except Exception as error:
            sound = self._restore()
            if running is not None:
                running[:] = [other for other in running if other.place != place]
            if isinstance(error, NotApplicable):
                self.report.done(place, self.record(self.cells[place], None, Cost(), 0.0, reason=one_line(error)))
            else:
                self.report.failed(place, error)
            if not sound:  # a new process has the model as it was
                raise MibenchError(
                    f"{self.cells[place].labels['attack']} left the model changed beyond repair"
                ) from None

    def _restore(self) -> bool:
        """Whether the model is as it was."""
        ours, saved = self._released.denoiser, self._weights
        if isinstance(ours, torch.nn.Module) and isinstance(saved, torch.nn.Module) and not _same(ours, saved):
            ours.load_state_dict(saved.state_dict())
            ours.train(saved.training)
            self.cache.clear()
        return _same(ours, saved) and self._sound_shadows()

    def _sound_shadows(self) -> bool:
        """Whether all shadow models, which attacks share, are as they were."""
        pairs = [(one, *self._lent[which]) for which, one in self._shadows.items()]
        return all(
            _same(one.model.denoiser, denoiser) and torch.equal(one.members, members)
            for one, denoiser, members in pairs
        )

    def judge(self, place: int) -> bool:
        """Report the record that stored scores give; False where there are none."""
        cell = self.cells[place]
        key = cell.key(self.meta["digest"])
        if cell.attack is None or not self.store.has("scores", key):
            return False
        scores, facts = self.store.load("scores", key)
        metrics = attack_metrics(scores, self.cuts, cell.attack, cell.defense, facts["digest"])
        fit, shadows = (Cost(*facts[kind]) if kind in facts else None for kind in ("fit", "shadows"))
        cost = Cost(facts["forwards"], facts["vjps"])
        self.report.done(place, self.record(cell, metrics, cost, facts["seconds"], fit=fit, shadows=shadows))
        return True

    def record(
        self,
        cell: Cell,
        metrics: Any,
        cost: Cost,
        seconds: float,
        reason: str | None = None,
        fit: Cost | None = None,
        shadows: Cost | None = None,
    ) -> Record:
        """A cell's record, sealed. What was asked in learning is given in all, all else for each scored sample."""
        data = self.data
        scored = cell.utility.samples if cell.attack is None else len(data.members) + len(data.nonmembers)
        model = {k: v for k, v in self.meta.items() if k not in ("spec", "split")} | {"key": cell.model_key}
        if cell.model_kind == "trained" and cell.shadows():
            model["shadows"] = [self.store.meta("models", shadow.model_key)["digest"] for shadow in cell.shadows()]
        return Record(
            key=cell.key(self.meta["digest"]),
            status="n/a" if reason else "done",
            reason=reason,
            labels=cell.labels,
            cell=CellFacts(**cell.spec()),
            split=SplitFacts(
                fingerprint=data.fingerprint,
                near_duplicates=data.near_duplicates,
                members=len(data.members),
                nonmembers=len(data.nonmembers),
                reference=len(data.reference),
                notes=data.notes or None,
            ),
            model=ModelFacts(**model),
            attack=metrics if cell.attack else None,
            utility=None if cell.attack else metrics,
            cost=CostFacts(
                forwards=cost.forwards / scored,
                vjps=cost.vjps / scored,
                fit_forwards=fit.forwards if fit else None,
                fit_vjps=fit.vjps if fit else None,
                shadow_forwards=shadows.forwards / scored if shadows else None,
                shadow_vjps=shadows.vjps / scored if shadows else None,
            ),
            environment=_environment(self.device),
            code={kind: code for kind, part in cell.parts.items() if (code := code_digest(part))},
            seconds=round(seconds, 3),
        ).sealed()


def measure(cells: list[Cell], store: Store, device: str, report: Report) -> None:
    """Bring cells of one model to their records.

    Every attack learns from the calibration samples first. Then the samples are scored batch by batch, members and
    non-members mixed, all attacks on one batch before the next, so that what several ask of the network at one point is
    computed once. Scores that are in the store already are not computed again.
    """
    bench = _Bench(cells, store, device, report)
    if close := bench.data.near_duplicates:
        report.say(
            f"{bench.target.labels['dataset']}: {close} of {len(bench.data.nonmembers)} non-members are members too, or nearly: "
            "no attack can tell these apart"
        )
    running: list[_Attacker] = []
    for place, cell in enumerate(cells):
        with bench.guarded(place, 0, running):
            began = time.monotonic()
            model = bench.released(cell)
            if cell.attack is None:
                model.cache = None  # no state of a sampler is asked for twice
                metrics = utility_metrics(cell, model, bench.data, store, cell.key(bench.meta["digest"]), report.say)
                report.done(place, bench.record(cell, metrics, model.cost, time.monotonic() - began))
            elif not bench.judge(place):
                shadows = Cost()
                attacker = _Attacker(place, cell, model, bench.context(cell, model, shadows), shadows)
                with torch.no_grad():
                    cell.attack.fit(model, *bench.calibration(), attacker.ctx)
                attacker.seconds = time.monotonic() - began
                attacker.fit = Cost(model.cost.forwards + shadows.forwards, model.cost.vjps + shadows.vjps)
                model.cost, shadows.forwards, shadows.vjps = Cost(), 0, 0
                running.append(attacker)
    bench.cache.clear()
    samples = torch.cat(list(bench.parts.values()))
    order = torch.randperm(len(samples), generator=generator(bench.target.seed, "order of scoring"))
    batches = torch.split(order, BATCH)
    total, done = len(running) * len(batches), 0
    for stage, batch in enumerate(batches, start=1):
        x = samples[batch].to(device, torch.float64)
        for attacker in list(running):
            began = time.monotonic()
            with bench.guarded(attacker.place, stage, running):
                for setting, values in _scores(attacker, x.clone(), batch).items():
                    attacker.rows.setdefault(setting, []).append(values)
            attacker.seconds += time.monotonic() - began
            done += 1
            report.progress(done, total)
        bench.cache.clear()
    if bench.cache.requested:
        report.say(
            f"{cells[0].model_title}: {bench.cache.requested} evaluations of the network asked for, {bench.cache.computed} made"
        )
    places = order.argsort()
    again = order[:: max(1, len(order) // AGAIN)][:AGAIN]
    for attacker in list(running):
        with bench.guarded(attacker.place, len(batches) + 1, running):
            _keep(attacker, bench, places, again, samples[again].to(device, torch.float64))
            bench.judge(attacker.place)


def _keep(attacker: _Attacker, bench: _Bench, place: Tensor, again: Tensor, x: Tensor) -> None:
    """Store the scores.

    Args:
        attacker: who has scored every sample.
        bench: whose samples these are.
        place: where in the order of scoring each sample is.
        again: some of the samples, which are scored once more among themselves.
        x: these, (len(again), *item).

    Raises:
        MibenchError: where the scores tell nothing, or are not the samples' own.
    """
    who = f"attack {attacker.cell.labels['attack']}"
    cost, fit, shadows = (astuple(one) for one in (attacker.model.cost, attacker.fit, attacker.shadows))
    found = {setting: torch.cat(rows)[place] for setting, rows in attacker.rows.items()}
    if all((values == values[0]).all() for values in found.values()):
        raise MibenchError(f"{who} gives every sample the same score")
    for setting, values in _scores(attacker, x, again).items():
        moved = (values - found[setting][again]).abs() > TOLERANCE * found[setting].std()
        if moved.sum() > FLIPS:
            raise MibenchError(
                f"{who}, setting {setting!r}: scores depend on the other samples of the batch ({int(moved.sum())} of "
                f"{len(x)} are others among themselves); take noise from ctx, statistics from fit()"
            )
    scores: dict[str, Tensor] = {}
    cut = len(bench.parts["members"])
    for setting, values in found.items():
        scores |= {f"members/{setting}": values[:cut].clone(), f"nonmembers/{setting}": values[cut:].clone()}
    facts: dict[str, Any] = {"forwards": cost[0], "vjps": cost[1], "seconds": attacker.seconds}
    facts |= {kind: counts for kind, counts in (("fit", fit), ("shadows", shadows)) if any(counts)}
    key = attacker.cell.key(bench.meta["digest"])
    bench.store.save("scores", key, scores, {"spec": attacker.cell.spec(), **facts})


def _counted(model: Model, cost: Cost) -> Model:
    """The whole of a model, its evaluations counted there."""
    counted = copy.copy(model)
    counted.cost = cost
    return counted


def _same(one: Denoiser, other: Denoiser) -> bool:
    """Whether two denoisers have the same weights, class, mode and no hooks."""
    if type(one) is not type(other):
        return False
    if not (isinstance(one, torch.nn.Module) and isinstance(other, torch.nn.Module)):
        return True
    first, second = one.state_dict(), other.state_dict()
    hooked = any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in one.modules()
    )
    learns = [[parameter.requires_grad for parameter in both.parameters()] for both in (one, other)]
    return (
        not hooked
        and one.training == other.training
        and learns[0] == learns[1]
        and first.keys() == second.keys()
        and all(torch.equal(value, second[name]) for name, value in first.items())
    )


def _scores(attacker: _Attacker, x: Tensor, batch: Tensor) -> dict[str, Tensor]:
    """The attack's scores of a batch, if they are what attacks must return.

    Raises:
        MibenchError: naming the attack, the setting and what is wrong.
        Diverged: naming time and sample, counted over members and non-members.
    """
    attack = attacker.cell.attack
    assert attack is not None
    try:
        with torch.no_grad():
            answer = attack.score(attacker.model, x, attacker.ctx)
    except Diverged as error:
        raise Diverged(int(batch[error.sample]), error.t) from None
    who = f"attack {attack.label}"
    if not isinstance(answer, dict) or not answer:
        raise MibenchError(f"{who} returned {type(answer).__name__}; it must return a dict of tensors, one per setting")
    if attacker.rows and set(attacker.rows) != set(answer):
        raise MibenchError(f"{who} does not return the same settings for every batch")
    for setting, values in answer.items():
        what = f"{who}, setting {setting!r}"
        if not isinstance(setting, str):
            raise MibenchError(f"{what}: the name of a setting must be a string")
        if not isinstance(values, Tensor) or values.shape != (len(x),):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise MibenchError(f"{what}: expected a tensor of shape ({len(x)},), got {got}")
        if not values.is_floating_point():
            raise MibenchError(f"{what}: scores must be floating-point numbers, got {values.dtype}")
        if values.requires_grad or values.device.type != attacker.model.device.type:
            raise MibenchError(f"{what}: scores must be on the device of the model, without gradients")
        if not torch.isfinite(values).all():
            raise MibenchError(f"{what}: a score is NaN or infinite")
    return {setting: values.detach().double().cpu() for setting, values in answer.items()}


def _environment(device: str) -> Environment:
    return Environment(
        python=platform.python_version(),
        **VERSIONS,
        device=device,
        chip=torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        threads=torch.get_num_threads(),
        scoring_batch=BATCH,
        deterministic=device == "cpu",
    )
