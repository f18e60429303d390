"""Shadow models and checkpoints: what they hold, and that each training is done once."""

import pytest
import torch
from benches import SMALL, TINY, Scored, attacked, cell, judged, made

from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.errors import MibenchError
from mibench.evaluate import trainings
from mibench.evaluate.models import open_model
from mibench.plugins import load
from mibench.results.store import Store
from mibench.suite.suite import Suite, plan_cells

MEMBERS, NONMEMBERS = 20, 40


def spy(count, kind, asked=None):
    """An attack that keeps the shadow models it is given, and that list."""
    seen = []

    def score(model, x, ctx):
        seen[:] = ctx.shadows(asked or count, kind)
        return {"x": -x.flatten(1).norm(dim=1)}

    return Scored.by("spy", score, shadow_models=lambda self: (count, kind)), seen


def pool(one):
    data = split(one.dataset, one.seed)
    return torch.cat([data.members, data.nonmembers])


@pytest.mark.parametrize("model", ["exact", "trained", "fresh"])
def test_online_shadows_hold_their_share_of_the_samples(store, model):
    attack, seen = spy(30 if model == "exact" else 3, "online")
    one = cell(attack, model=model, recipe=TINY | {"steps": 2})
    made([one], store)
    assert not judged([one], store).failures
    x = pool(one)
    held = torch.stack([shadow.holds(x) for shadow in seen])
    assert (held.sum(1) == MEMBERS).all()  # M of M + N: a third here
    for shadow, row in zip(seen, held, strict=True):
        assert len(shadow.members) == MEMBERS and torch.equal(shadow.holds(x.double()), row)
        known = {tuple(member.flatten().tolist()) for member in shadow.members}
        assert row.tolist() == [tuple(sample.flatten().tolist()) in known for sample in x]
    assert len({tuple(row.tolist()) for row in held}) == len(seen)
    if model == "exact":
        share = held.double().mean(0)
        assert share.min() > 0.05 and share.max() < 0.7  # 30 draws of 1/3: five standard deviations
        assert abs(share[:MEMBERS].mean() - 1 / 3) < 0.06  # members of the target are no likelier than others


@pytest.mark.parametrize("model", ["exact", "trained"])
def test_offline_shadows_hold_none_of_the_samples(store, model):
    attack, seen = spy(3, "offline")
    one = cell(attack, model=model, recipe=TINY | {"steps": 2})
    made([one], store)
    assert not judged([one], store).failures
    reference = split(one.dataset, one.seed).reference
    for shadow in seen:
        assert not shadow.holds(pool(one)).any() and shadow.holds(shadow.members).all()
        assert shadow.holds(reference).sum() == len(shadow.members) == MEMBERS


def test_shadows_of_an_exact_model_are_exact_and_not_stored(store):
    attack, seen = spy(2, "online")
    one = cell(attack)
    made([one], store)
    judged([one], store)
    assert [path.name for path in (store.root / "models").iterdir()] == [one.model_key]
    for shadow in seen:
        assert isinstance(shadow.model.denoiser, ExactDenoiser)
        assert torch.equal(shadow.model.denoiser.points, shadow.members.flatten(1).double())


def test_shadows_of_a_trained_model_are_named_in_its_record(store):
    attack, _ = spy(3, "online")
    one = cell(attack, model="trained")
    made([one], store)
    record = judged([one], store).records["spy"]
    digests = [store.meta("models", shadow.model_key)["digest"] for shadow in one.shadows()]
    assert record.model.shadows == tuple(digests) and len({*digests, record.model.digest}) == 4
    assert record.attack.tier == "shadows"


def test_shadows_of_a_composed_defense_are_trained_with_its_measures(store, monkeypatch):
    """Two teachers on halves, then a student, each on half of the steps and with dropout; as the target, so each shadow."""
    calls, train = [], trainings.train

    def spied(defense, model, members, recipe, *args, **more):
        calls.append((defense.label, len(members), recipe.steps, [layer.p for layer in dropouts(model.denoiser)]))
        return train(defense, model, members, recipe, *args, **more)

    def dropouts(network):
        return [layer for layer in network.modules() if isinstance(layer, torch.nn.Dropout)]

    monkeypatch.setattr(trainings, "train", spied)
    attack, seen = spy(2, "offline")
    one = cell(attack, model="trained", defense="vp+distill+early+dropout:p=0.3")
    made([one], store)
    half, whole = (("vp+dropout:p=0.3", 10, 5), (one.labels["defense"], 20, 5))
    assert [call[:3] for call in calls] == 3 * [half, half, whole]
    assert all(shares and set(shares) == {0.3} for *_, shares in calls)
    assert not judged([one], store).failures and len(seen) == 2
    assert {store.meta("models", shadow.model_key)["steps"] for shadow in one.shadows()} == {5}
    assert all(set(layer.p for layer in dropouts(shadow.model.denoiser)) == {0.3} for shadow in seen)


def test_an_attack_gets_as_many_shadows_as_it_said(store):
    attack, _ = spy(2, "online", asked=3)
    one = cell(attack)
    made([one], store)
    outcome = judged([one, attacked(one, "pia")], store)
    assert "asked for 3 online shadow models; its shadow_models() declares 2 online" in str(outcome.failures["spy"])
    assert isinstance(outcome.failures["spy"], MibenchError) and "pia" in outcome.records


def test_a_shadow_model_that_an_attack_changes_is_put_back(store, alone):
    """The culprit fails; an attack that uses the same shadow models has the scores that it has alone."""

    def fit(self, model, members, nonmembers, ctx):
        first = ctx.shadows(2, "online")[0]
        first.members.zero_()
        for parameter in first.model.denoiser.parameters():
            parameter.data = 2 * parameter.data

    score, shadows = (lambda model, x, ctx: {"x": -x.flatten(1).norm(dim=1)}), (lambda self: (2, "online"))
    one = cell(Scored.by("rude", score, fit=fit, shadow_models=shadows, access="weights"), model="trained")
    neighbour = attacked(one, "lira:shadows=2,draws=2,times=[0.1]")
    made([one], store)
    outcome = judged([one, neighbour], store)
    assert "changed a shadow model" in str(outcome.failures["rude"])
    name = neighbour.labels["attack"]
    assert outcome.records[name].attack == alone(neighbour).records[name].attack


def test_attacks_share_their_shadows():
    """Those of one kind are the same models, however many each attack wants; the planner makes each once."""
    few, many, offline = (
        {shadow.model_key for shadow in cell(attack, model="trained").shadows()}
        for attack in ("lira:shadows=3", "lira:shadows=5,draws=2", "lira:mode=offline,shadows=5")
    )
    assert len(few) == 3 and few < many and not many & offline


def test_a_checkpoint_is_a_snapshot_of_the_same_training(store, monkeypatch):
    trained, train = [], trainings.train_stacked
    monkeypatch.setattr(trainings, "train_stacked", lambda *args, **more: trained.append(1) or train(*args, **more))
    end, half = cell(model="trained"), cell(model="trained", checkpoint=5)
    assert end.training_key == half.training_key and end.model_key != half.model_key
    made([end, half], store)
    assert len(trained) == 1
    data = split(end.dataset, end.seed)
    opened = [open_model(one, store, data, "cpu") for one in (end, half)]
    weights = [torch.cat([p.flatten() for p in model.denoiser.state_dict().values()]) for model, _ in opened]
    assert not torch.equal(*weights)
    facts = [meta for _, meta in opened]
    assert [told["steps"] for told in facts] == [10, 5]
    assert facts[1]["epochs_per_member"] == facts[0]["epochs_per_member"] / 2

    apart = Store(store.root.with_name("apart"))
    made([end], apart)  # a training without checkpoints is the same training
    assert apart.meta("models", end.model_key)["digest"] == store.meta("models", end.model_key)["digest"]


def test_records_of_a_checkpoint(store):
    cells = [cell(attack, model="trained", checkpoint=step) for step in (0, 5) for attack in ("pia", "lira:shadows=3")]
    made(cells, store)
    assert len(list((store.root / "models").iterdir())) == 2 * 4
    end, half = (judged(cells[k : k + 2], store) for k in (0, 2))
    for name in ("pia", "lira:shadows=3"):
        then, now = half.records[name], end.records[name]
        assert (then.cell.checkpoint, now.cell.checkpoint) == (5, 0)
        assert then.key != now.key and then.attack.scores != now.attack.scores
    assert [one.path.rpartition("/")[2] for one in cells] == [
        "pia-s0.json",
        "lira_shadows_3-s0.json",
        "pia-at5-s0.json",
        "lira_shadows_3-at5-s0.json",
    ]
    assert half.records["lira:shadows=3"].model.shadows != end.records["lira:shadows=3"].model.shadows


def planned(**changes):
    fields = {"datasets": [SMALL], "defenses": ["vp", "hold2"], "attacks": ["pia", "lira:shadows=3"], "seeds": [3, 4]}
    return plan_cells(load(), Suite(**fields | {"recipe": {"digits": TINY}} | changes))


def test_what_a_suite_plans():
    """Each defense and seed: utility and attacks at each checkpoint; fresh data; exact models of the first seed; blind once."""
    cells = planned(checkpoints=[0.5, 0.5, 0.99])
    kinds = {}
    for one in cells:
        key = (one.model_kind, one.checkpoint, one.seed)
        kinds.setdefault(key, []).append((one.defense.label, one.labels["attack"]))
    each = [(defense, attack) for defense in ("vp", "hold2") for attack in ("utility", "pia", "lira:shadows=3")]
    controls = [pair for pair in each if pair[1] != "utility"]
    assert kinds == {
        **{("trained", step, seed): each for step in (0, 5) for seed in (3, 4)},  # 0.99 of 10 steps is the end
        ("exact", 0, 3): controls,
        **{("fresh", 0, seed): [*controls, ("vp", "blind")] for seed in (3, 4)},
    }
    assert len({one.path for one in cells}) == len(cells)


def test_a_suite_without_controls_or_of_exact_models_plans_none():
    assert {one.model_kind for one in planned(controls=False)} == {"trained"}
    exact = planned(model="exact", checkpoints=[0.5])
    assert {(one.model_kind, one.labels["attack"]) for one in exact} == {
        *(("exact", attack) for attack in ("utility", "pia", "lira:shadows=3")),
        ("fresh", "blind"),
    }
    assert {one.checkpoint for one in exact} == {0}
