"""All attacks of a model in one process: what they share, and what one that misbehaves costs the others."""

import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from benches import Scored, attacked, cell, judged, made

from mibench.data import split
from mibench.defenses import Defense
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.errors import Diverged, NotApplicable
from mibench.evaluate import scoring
from mibench.plugins import load
from mibench.results.facts import CostFacts
from mibench.results.store import Store
from mibench_defenses import VP

SAMPLES = 60


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def exact(store):
    """The cell of an exact model that is in the store."""
    target = cell()
    made([target], store)
    return target


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
    assert sum(Counted.asked) == (3 + 4 + 4 + 4) * (SAMPLES + scoring.RESCORED)


def norm(x):
    return -x.flatten(1).norm(dim=1)


def other_settings(model, x, ctx):
    """There are batches of 25, 25 and 10."""
    return {"x": norm(x)} if len(x) == 25 else {"y": norm(x)}


def with_gradients(model, x, ctx):
    with torch.enable_grad():
        return {"x": norm(x.clone().requires_grad_())}


def raising(model, x, ctx):
    raise RuntimeError("on purpose")


BAD = {
    "nan": (lambda m, x, c: {"x": norm(x) * torch.nan}, "setting 'x': a score is NaN or infinite"),
    "infinite": (lambda m, x, c: {"x": norm(x) * torch.inf}, "setting 'x': a score is NaN or infinite"),
    "one-nan": (lambda m, x, c: {"y": norm(x), "x": norm(x).index_fill(0, torch.tensor(3), torch.nan)}, "setting 'x'"),
    "shape": (lambda m, x, c: {"x": x.flatten(1)}, r"expected a tensor of shape (25,), got (25, 64)"),
    "scalar": (lambda m, x, c: {"x": norm(x).mean()}, "expected a tensor of shape (25,), got ()"),
    "array": (lambda m, x, c: {"x": norm(x).numpy()}, "expected a tensor of shape (25,), got ndarray"),
    "constant": (lambda m, x, c: {"x": torch.ones(len(x))}, "attack constant gives every sample the same score"),
    "integers": (lambda m, x, c: {"x": torch.arange(len(x))}, "floating-point numbers, got torch.int64"),
    "gradients": (with_gradients, "on the device of the model, without gradients"),
    "elsewhere": (lambda m, x, c: {"x": norm(x).to("meta")}, "on the device of the model, without gradients"),
    "no-dict": (lambda m, x, c: norm(x), "returned Tensor; it must return a dict of tensors"),
    "empty": (lambda m, x, c: {}, "it must return a dict of tensors, one per setting"),
    "settings": (other_settings, "attack settings does not return the same settings for every batch"),
    "no-string": (lambda m, x, c: {0.1: norm(x)}, "setting 0.1: the name of a setting must be a string"),
    "long-name": (lambda m, x, c: {"x" * 100_000: norm(x)}, "must be a string of 1 to 40 letters, digits"),
    "bad-name": (lambda m, x, c: {"a|b\n": norm(x)}, r"setting 'a|b\n': the name of a setting must be"),
    "no-name": (lambda m, x, c: {"": norm(x)}, "setting '': the name of a setting must be"),
    "many": (lambda m, x, c: {f"x{k}": norm(x) for k in range(1001)}, "1001 settings; at most 1000 are allowed"),
    "raises": (raising, "on purpose"),
}


def test_an_attack_that_misbehaves_costs_its_own_cell(exact, store, monkeypatch):
    """Each wrong answer is named in one line, and the neighbours before, between and after finish as they would alone."""
    monkeypatch.setattr(scoring, "BATCH", 25)
    bad = [Scored.by(name, score) for name, (score, _) in BAD.items()]
    cells = [attacked(exact, attack) for attack in ("pia", *bad[:7], "secmi", *bad[7:], "loss:draws=1")]
    outcome = judged(cells, store)
    assert set(outcome.records) == {"pia", "secmi", "loss:draws=1"} and set(outcome.failures) == set(BAD)
    for name, (_, message) in BAD.items():
        error = str(outcome.failures[name])
        assert message in error and "\n" not in error and len(error) < 200, name
    assert not any(
        store.has("scores", one.key(store.meta("models", exact.model_key)["digest"]))
        for one in cells
        if one.attack in bad
    )
    apart = Store(store.root.with_name("apart"))
    made([exact], apart)
    alone = judged([attacked(exact, "secmi")], apart)
    assert alone.records["secmi"].attack == outcome.records["secmi"].attack


def test_one_setting_may_be_constant(exact, store):
    """Only where no setting tells anything is there nothing to report."""
    attack = Scored.by("half", lambda model, x, ctx: {"x": torch.ones(len(x)), "y": norm(x)})
    record = judged([attacked(exact, attack)], store).records["half"]
    assert record.attack.settings["x"] == (0.5, 0.5) and record.attack.published.setting == "x"


def refuse(*_):
    raise NotApplicable("needs the weights")


@pytest.mark.parametrize("when", ["fit", "score"])
def test_an_attack_that_does_not_apply(exact, store, when):
    if when == "fit":
        attack = Scored.by("choosy", lambda model, x, ctx: {"x": norm(x)}, fit=refuse)
    else:
        attack = Scored.by("choosy", refuse)
    outcome = judged([attacked(exact, attack), attacked(exact, "pia")], store)
    record = outcome.records["choosy"]
    assert (record.status, record.reason, record.attack) == ("n/a", "needs the weights", None)
    assert outcome.records["pia"].status == "done" and not outcome.failures


@pytest.mark.parametrize("batch", [512, 8])
def test_a_sample_that_diverges_is_counted_over_the_split(exact, store, monkeypatch, batch):
    monkeypatch.setattr(scoring, "BATCH", batch)
    culprit = split(exact.dataset, exact.seed).nonmembers[13].double()

    def score(model, x, ctx):
        found = (x == culprit).flatten(1).all(1).nonzero()
        if len(found):
            raise Diverged(int(found[0]), 0.25)
        return {"x": norm(x)}

    outcome = judged([attacked(exact, Scored.by("unstable", score)), attacked(exact, "pia")], store)
    assert str(outcome.failures["unstable"]) == "sample 33 leaves the finite numbers at t = 0.25"
    assert outcome.records["pia"].status == "done"


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


def test_what_an_attack_does_to_its_samples_is_its_own_affair(exact, store):
    def overwrite(model, x, ctx):
        x.zero_()
        return {"x": torch.arange(len(x)).double()}

    together = judged([attacked(exact, Scored.by("rude", overwrite)), attacked(exact, "pia")], store).records["pia"]
    apart = Store(store.root.with_name("apart"))
    made([exact], apart)
    assert together.attack == judged([attacked(exact, "pia")], apart).records["pia"].attack


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


def test_weights_that_an_attack_changes_are_put_back(store):
    """Whether in learning or in scoring, and whatever the neighbours are."""

    def spoil(model):
        with torch.no_grad():
            for parameter in model.denoiser.parameters():
                parameter.zero_()

    def fit(self, model, members, nonmembers, ctx):
        spoil(model)

    def score(model, x, ctx):
        spoil(model)
        return {"x": norm(x)}

    one = cell(model="trained")
    made([one], store)
    rude = [Scored.by("early", lambda model, x, ctx: {"x": norm(x)}, fit=fit, access="weights")]
    rude.append(Scored.by("late", score, access="weights"))
    outcome = judged([attacked(one, attack) for attack in (*rude, "pia")], store)
    assert all("changed the model that it was given" in str(outcome.failures[name]) for name in ("early", "late"))
    apart = Store(store.root.with_name("apart"))
    made([one], apart)
    assert outcome.records["pia"].attack == judged([attacked(one, "pia")], apart).records["pia"].attack


class Pruned(VP):
    """Releases the model with smaller weights, in place, and noisy answers."""

    name: ClassVar = "pruned"

    def release(self, model):
        with torch.no_grad():
            for parameter in model.denoiser.parameters():
                parameter.mul_(0.9).add_(0.01 * torch.randn_like(parameter))
        return model


def test_a_model_is_released_once_whoever_else_attacks_it(store):
    """The release is the same for samples and attacks, and does not depend on how many there are."""
    one = replace(cell(model="trained"), defense=Pruned())
    made([one], store)
    many = judged([one, *(attacked(one, text) for text in ("secmi", "pia", "loss:draws=1"))], store)
    apart = Store(store.root.with_name("apart"))
    made([one], apart)
    alone = judged([attacked(one, "loss:draws=1")], apart)
    assert many.records["loss:draws=1"].attack == alone.records["loss:draws=1"].attack


def test_global_random_numbers_are_the_same_whoever_went_before(exact, store):
    def chance(model, x, ctx):
        torch.set_default_dtype(torch.float64)
        return {"x": norm(x) + 1e-4 * torch.rand(len(x), dtype=torch.float64)}

    def seeding(model, x, ctx):
        torch.manual_seed(0)
        return {"x": norm(x)}

    lucky, seeds = Scored.by("lucky", chance), Scored.by("seeds", seeding)
    together = judged([attacked(exact, attack) for attack in (seeds, "pia", lucky)], store)
    apart = Store(store.root.with_name("apart"))
    made([exact], apart)
    alone = judged([attacked(exact, lucky)], apart)
    assert together.records["lucky"].attack == alone.records["lucky"].attack
    assert torch.get_default_dtype() == torch.float32


def replacing(self, model, members, nonmembers, ctx):
    """Puts functions in the place of those of torch and numpy, as a careless plugin does that wants a seed of its own."""
    torch.randn = lambda *shape, **more: torch.zeros(*shape, dtype=torch.float64)
    torch.Tensor.norm = lambda self, **more: self.flatten(1).sum(1)
    torch.nn.functional.pad = torch.linalg.eigh = np.random.randn = None


def test_functions_of_torch_that_an_attack_replaces_are_put_back(exact, store):
    """Its neighbours have the scores that they have alone, and only the culprit is named."""
    culprit = Scored.by("culprit", lambda model, x, ctx: {"x": norm(x)}, fit=replacing)
    originals = torch.randn, torch.Tensor.norm, torch.nn.functional.pad, torch.linalg.eigh, np.random.randn
    together = judged([attacked(exact, attack) for attack in (culprit, "loss:draws=1", "pia")], store)
    assert (torch.randn, torch.Tensor.norm, torch.nn.functional.pad, torch.linalg.eigh, np.random.randn) == originals
    apart = Store(store.root.with_name("apart"))
    made([exact], apart)
    alone = judged([attacked(exact, attack) for attack in ("loss:draws=1", "pia")], apart)
    assert not together.failures and all(
        together.records[name].attack == alone.records[name].attack for name in alone.records
    )
    (note,) = [line for line in together.said if "replaced" in line]
    assert note.startswith("culprit replaced") and "torch.randn" in note
    assert "torch.Tensor.norm" in note and "numpy.random.randn" in note and not any("replaced" in x for x in alone.said)


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


def asking(model, x, ctx):
    return {"x": model.eps(model.at_rest(x), 0.1).flatten(1).norm(dim=1)}


def differentiating(model, x, ctx):
    with torch.enable_grad():
        u = model.at_rest(x).requires_grad_()
        return {"x": torch.autograd.grad(model.eps(u, 0.1).sum(), u)[0].flatten(1).norm(dim=1).detach()}


def functional(model, x, ctx):
    def energy(u):
        return model.eps(u[None], 0.1).square().sum()

    return {"x": torch.stack([torch.func.grad(energy)(u).norm() for u in model.at_rest(x)])}


def pulling(model, x, ctx):
    return {"x": model.eps_vjp(model.at_rest(x), 0.1, torch.ones(1, *model.shape))[1][0].flatten(1).norm(dim=1)}


def reaching(model, x, ctx):
    return {"x": norm(x) * sum(p.norm() for p in model.denoiser.parameters()).detach()}


def drawing(model, x, ctx):
    return {"x": -torch.cdist(x.flatten(1), ctx.samples(20).flatten(1)).amin(1)}


USES = {
    "answers": ("network", [asking]),
    "gradients": ("gradients", [differentiating, functional, pulling]),
    "weights": ("weights", [reaching]),
}


def test_an_attack_gets_what_it_declares_and_no_more(store):
    """Beyond that its cell fails in one line; generated samples are for all."""
    levels = ("data", "samples", "network", "gradients", "weights")
    one = cell(model="trained")
    made([one], store)
    expected, cells = {}, []
    for access in levels:
        for what, (least, uses) in USES.items():
            for use in uses:
                attack = Scored.by(f"{use.__name__}-{access}", use, access=access)
                ok = levels.index(access) >= levels.index(least)
                why = f"attack {attack.name} asked for the model's {what}; it declares access {access!r}"
                if use in (differentiating, functional) and access in levels[:2]:
                    why = why.replace("gradients;", "answers;")  # which come first
                expected[attack.name] = None if ok else why
                cells.append(attacked(one, attack))
    cells.append(attacked(one, Scored.by("drawing", drawing, access="samples")))
    outcome = judged(cells, store)
    assert {name: str(error) for name, error in outcome.failures.items()} == {
        n: why for n, why in expected.items() if why
    }
    assert set(outcome.records) == {"drawing", *(name for name, why in expected.items() if not why)}


def test_what_a_model_does_not_have_is_no_fault_of_the_attack(exact, store):
    heavy = Scored.by("heavy", reaching, access="weights")
    record = judged([attacked(exact, heavy)], store).records["heavy"]
    assert (record.status, record.reason) == ("n/a", "the exact model has no weights")

    closed = replace(attacked(exact, Scored.by("pulling", pulling, access="gradients")), defense=Silent())
    made([closed], store)
    record = judged([closed], store).records["pulling"]
    assert (record.status, record.reason) == ("n/a", "the answers of this model have no gradients")


class Silent(Counted):
    """Gives answers and nothing to differentiate."""

    name = "silent"

    def release(self, model):
        return Model(model.process, lambda u, kernel: model.denoiser(u.detach(), kernel), model.shape)


@pytest.mark.parametrize(
    "relative",
    [
        lambda good: good - good.mean(),
        lambda good: good / good.abs().max(),
        lambda good: good.argsort().argsort().double(),
        lambda good: torch.rand_like(good),
        lambda good: good + torch.arange(len(good)) / len(good),
    ],
    ids=["mean", "largest", "ranks", "chance", "place"],
)
def test_a_score_that_depends_on_its_batch_is_caught(exact, store, relative):
    attack = Scored.by("relative", lambda model, x, ctx: {"own": norm(x), "batch": relative(norm(x))})
    outcome = judged([attacked(exact, attack), attacked(exact, "pia")], store)
    message = str(outcome.failures["relative"])
    assert "setting 'batch': scores depend on the other samples of the batch" in message and len(message) < 300
    assert outcome.records["pia"].status == "done"


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
