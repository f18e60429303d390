"""All attacks on a model in one process: evaluations that they share, and the order in which samples are scored."""

import re
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from benches import Scored, attacked, cell, judged, made, norm

from mibench.data import split
from mibench.defenses import Defense
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.evaluate import scoring
from mibench.plugins import load
from mibench.results.facts import CostFacts
from mibench.results.store import Store

SAMPLES = 60


def shared(count):
    """Four attacks on one grid of so many times."""
    times = ",".join(f"{k / 50:g}" for k in range(1, count + 1))
    return [
        f"loss:draws=1,times=[{times}]",
        f"secmi:stride=0.02,steps={count}",
        f"pia:times=[{times}]",
        f"pian:times=[{times}]",
    ]


def counts(outcome):
    """Evaluations asked for and made, for each sample."""
    (line,) = outcome.said
    asked, done = re.search(r"(\d+) evaluations of the network requested, (\d+) computed", line).groups()
    return int(asked) / SAMPLES, int(done) / SAMPLES


@pytest.mark.parametrize(("count", "asked", "evaluations"), [(10, 43, 41), (30, 123, 121)])
def test_no_point_is_evaluated_twice(store, tmp_path, count, asked, evaluations):
    """What the three chains start from is one point; and the scores are those that each attack gives alone."""
    cells = [cell(attack, model="trained") for attack in shared(count)]
    made(cells, store)
    outcome = judged(cells, store)
    assert not outcome.failures and counts(outcome) == (asked, evaluations)
    for one in cells:
        record = outcome.records[one.labels["attack"]]
        assert record.cost.forwards == (count if one.attack.name == "loss" else count + 1)
        apart = Store(tmp_path / f"apart-{one.attack.name}")
        made([one], apart)
        alone = judged([one], apart).records[one.labels["attack"]]
        assert alone.key == record.key and alone.cost == record.cost
        together, single = (where.load("scores", record.key)[0] for where in (store, apart))
        assert together.keys() == single.keys()
        assert all(torch.equal(together[name], single[name]) for name in together)


class Counted(Defense):
    """Answers through a counter, as one whose answers are random or limited would."""

    name = "counted"
    asked: ClassVar = []

    def process(self):
        return load().components["defense"]["vp"]().process()

    def release(self, model):
        def denoiser(u, kernel):
            self.asked.append(len(u))
            return model.denoiser(u, kernel)

        return Model(model.process, denoiser, model.shape, model.device, model.cache)


def test_a_released_model_with_another_denoiser_shares_nothing(store, monkeypatch):
    monkeypatch.setattr(Counted, "asked", [])
    cells = [replace(cell(attack), defense=Counted()) for attack in shared(3)]
    made(cells, store)
    outcome = judged(cells, store)
    assert len(outcome.records) == 4 and not outcome.said
    assert sum(Counted.asked) == (3 + 4 + 4 + 4) * (SAMPLES + len(scoring.scored_again(torch.arange(SAMPLES))))


def test_stored_scores_are_not_computed_again(exact, store, monkeypatch):
    cells = [attacked(exact, attack) for attack in ("pia", "secmi:steps=3")]
    first = judged(cells, store)

    def broken(self, u, kernel):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(ExactDenoiser, "__call__", broken)
    again = judged(cells, store)
    assert again.records == first.records and len(again.records) == 2 and not again.said
    more = judged([*cells, attacked(exact, "loss:draws=1")], store)
    assert more.records == first.records and "the network was asked" in str(more.failures["loss:draws=1"])


def test_what_attacks_learn_from_is_not_evaluated_twice_either(store):
    answers = []

    def fit(self, model, members, nonmembers, ctx):
        answers.append(model.eps(model.at_rest(members), 0.1))

    one = cell(model="trained")
    made([one], store)
    learners = [Scored.by(name, lambda model, x, ctx: {"x": norm(x)}, fit=fit) for name in ("one", "other")]
    outcome = judged([attacked(one, attack) for attack in learners], store)
    assert not any(answer.requires_grad for answer in answers) and torch.equal(*answers)
    assert counts(outcome) == (8 / SAMPLES, 4 / SAMPLES)


def test_answers_of_shadow_models_are_shared(store):
    cells = [
        cell(f"lira:shadows=2,draws=2,times=[0.1],variance={variance}", model="trained")
        for variance in ("pooled", "sample")
    ]
    made(cells, store)
    asked, done = counts(judged(cells, store))
    assert asked == 2 * done and done * SAMPLES == 2 * (3 * SAMPLES + 2 * 12)


def test_members_and_nonmembers_are_scored_in_mixed_batches(exact, store, monkeypatch):
    """The size of its batch, or its place in the order of calls, tells an attack nothing."""
    monkeypatch.setattr(scoring, "BATCH", 10)
    seen = []

    def score(model, x, ctx):
        seen.append(x)
        return {"call": torch.full((len(x),), float(len(seen))), "mean": norm(x - x.mean(0))}

    judged([attacked(exact, Scored.by("counts", score))], store)
    data = split(exact.dataset, exact.seed)
    known = {row.numpy().tobytes() for row in data.members.double()}
    shares = [sum(row.numpy().tobytes() in known for row in x) / len(x) for x in seen]
    assert sum(0 < share < 1 for share in shares) >= len(shares) - 1


def test_what_is_asked_in_learning_and_of_shadow_models_is_counted(store):
    """All that learning took; for each scored sample what was asked of shadow models. Each attack for itself."""
    cells = [
        cell(text, model="trained")
        for text in ("pia", "loss-vector:times=[0.1],draws=3", "lira:shadows=2,draws=2,times=[0.1]")
    ]
    made(cells, store)
    found = judged(cells, store).records
    assert found["pia"].cost == CostFacts(forwards=8, vjps=0)
    assert found["loss-vector:times=[0.1],draws=3"].cost == CostFacts(
        forwards=3, vjps=0, fit_forwards=3 * 12, fit_vjps=0
    )
    assert found["lira:shadows=2,draws=2,times=[0.1]"].cost == CostFacts(
        forwards=2, vjps=0, fit_forwards=2 * 2 * 12, fit_vjps=0, shadow_forwards=2 * 2, shadow_vjps=0
    )


def test_scores_of_an_interrupted_run_are_used_again(store, exact, alone, monkeypatch):
    """Each batch is scored once, whatever ends the first run, and the record is that of a run in one piece."""
    from mibench.evaluate.attack_run import AttackRun
    from mibench.evaluate.measure import measure
    from mibench.evaluate.report import Report

    monkeypatch.setattr(scoring, "BATCH", 10)
    one = attacked(exact, "pia")
    scored, score, records, said = [], AttackRun.score, [], []

    def counted(run, x, indices):
        if len(scored) == 2:
            scored.append(None)
            raise KeyboardInterrupt
        scored.append(indices.tolist())
        score(run, x, indices)

    monkeypatch.setattr(AttackRun, "score", counted)
    report = Report(
        lambda index: None, lambda index, record: records.append(record), None, lambda *_: None, said.append
    )
    with pytest.raises(KeyboardInterrupt):
        measure([one], store, "cpu", report, save_every=0.0)
    measure([one], store, "cpu", report, save_every=0.0)
    batches = [batch for batch in scored if batch]
    assert (
        sorted(k for batch in batches for k in batch) == list(range(SAMPLES)) and "continues after batch 2" in said[0]
    )
    assert not store.keys("partials", "")
    monkeypatch.setattr(AttackRun, "score", score)
    assert alone(one).records["pia"].attack == records[0].attack
