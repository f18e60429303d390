"""Cells of one model, brought to their records in this process."""

from dataclasses import dataclass, field, replace

from mibench.components import Attack
from mibench.evaluate.measure import measure
from mibench.evaluate.report import Report
from mibench.evaluate.trainings import make_models
from mibench.jobs.options import Event
from mibench.names import build
from mibench.plugins import load
from mibench.results.record import write_record
from mibench.suite.cells import CellSpec

SMALL = "digits:members=20,nonmembers=40,reference=200"
TINY = {"steps": 10, "width": 16, "depth": 1}


def cell(attack=None, *, defense="vp", dataset=SMALL, model="exact", recipe=TINY, checkpoint=0, seed=0):
    """A cell; its attack is a name or an ``Attack``."""
    spec = CellSpec(dataset=dataset, defense=defense, seed=seed, model_kind=model, recipe=recipe, checkpoint=checkpoint)
    return attacked(spec.cell(load()), attack)


def attacked(made, attack):
    """The same cell under another attack."""
    return replace(made, attack=build(load(), "attack", attack) if isinstance(attack, str) else attack)


@dataclass
class Outcome:
    """What measuring has reported, by the label of the attack ("utility" without one)."""

    records: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    said: list = field(default_factory=list)


def silent(say=lambda line: None):
    """A report that takes the lines of the log, and ignores everything else."""
    return Report(
        begin=lambda index: None,
        done=lambda index, record: None,
        failed=lambda index, error: None,
        progress=lambda done, total: None,
        say=say,
    )


def made(cells, store):
    """Make the models that must be in the store for cells that differ in attack, seed and checkpoint alone."""
    models = {model.model_key: model for one in cells for model in one.models()}
    make_models(list(models.values()), store, "cpu", silent())


def judged(cells, store):
    """Measure the cells of one model, which is in the store."""
    outcome, names = Outcome(), [one.labels["attack"] for one in cells]
    report = replace(
        silent(outcome.said.append),
        done=lambda index, record: outcome.records.__setitem__(names[index], record),
        failed=lambda index, error: outcome.failures.__setitem__(names[index], error),
    )
    measure(cells, store, "cpu", report)
    return outcome


class Scored(Attack):
    """An attack made of functions."""

    published = "x"

    @classmethod
    def by(cls, name, score, **methods):
        """An attack of this name whose score is a function of model, samples and context; others take the attack, too."""
        methods["score"] = lambda self, model, x, ctx: score(model, x, ctx)
        return type(name, (cls,), {"__doc__": name, "__module__": __name__, "name": name, **methods})()


def norm(x):
    """A score of (B, *item) that is each sample's own, (B,)."""
    return -x.flatten(1).norm(dim=1)


class InProcess:
    """Stands in for the scheduler: computes cells of one model in this process, and notes it."""

    def __init__(self, plan, cells, engine, options, on_event, stop=None):
        self.plan, self.cells, self.on_event = plan, cells, on_event

    def run(self):
        self.on_event(Event("note", message="computed in this process"))
        made(self.cells, self.plan.store)
        outcome = judged(self.cells, self.plan.store)
        for one in self.cells:
            write_record(self.plan.path(one), outcome.records[one.labels["attack"]])
        return {}
