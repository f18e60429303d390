"""Canaries: how they are drawn, who is trained on them, and what an audit finds with them."""

import math

import numpy as np
import pytest
import torch
from benches import TINY, Scored, cell, judged, made

from mibench import IMAGE, POINTS
from mibench.data import split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.errors import UsageError
from mibench.evaluate.models import training_data
from mibench.leaderboard.audits import audit_table
from mibench.leaderboard.board import open_board
from mibench.metrics.one_run import one_run_epsilon
from mibench.names import build
from mibench.plugins import load
from mibench.results.audit_metrics import audit_metrics
from mibench.results.claimed import claim_problems
from mibench.results.compare import compare
from mibench.results.figures import AuditMetrics, Estimate, audit_bound
from mibench.results.known import Known
from mibench.results.recompute import audit_differences
from mibench.results.record import read_record, write_record
from mibench.results.store import Store
from mibench.results.validate import validate
from mibench.seeds import generator
from mibench.suite.recorded import cell_of

PLAIN = "swiss-roll:members=40,nonmembers=60,reference=200"
AUDITED = f"{PLAIN},canaries=30"
OVERFITTED = {"steps": 400, "batch": 32, "width": 48, "depth": 2, "fourier": 64, "time_power": 2.0}


def dataset(name):
    return build(load(), "dataset", name)


# ── the draw ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_canaries_are_outliers_beside_the_same_three_parts():
    plain, audited = (split(dataset(name), 3) for name in (PLAIN, AUDITED))
    for part in ("members", "nonmembers", "reference"):
        assert torch.equal(getattr(plain, part), getattr(audited, part))
    assert len(plain.canaries) == len(plain.included) == 0
    assert audited.canaries.shape == (30, 2) and audited.canaries.dtype == torch.float32
    assert audited.included.dtype == torch.bool and 0 < audited.included.sum() < 30
    assert plain.fingerprint != audited.fingerprint != split(dataset(AUDITED), 4).fingerprint
    assert audited.fingerprint == split(dataset(AUDITED), 3).fingerprint
    assert plain.near_duplicates == audited.near_duplicates
    distance = [torch.cdist(x, audited.reference).amin(1).median() for x in (audited.members, audited.canaries)]
    assert distance[1] > 3 * distance[0]


def test_each_is_included_with_probability_one_half():
    name = "swiss-roll:members=100,nonmembers=10,reference=10,canaries=100"
    included = torch.stack([split(dataset(name), seed).included for seed in range(40)])
    assert abs(included.double().mean() - 0.5) < 0.04  # five standard deviations
    assert included.double().sum(1).std() > 2.5  # independent draws have 5, a fixed number 0


@pytest.mark.parametrize(("modality", "width"), [(IMAGE, 1.0), (POINTS, 2.0)])
def test_they_are_uniform_over_the_range_of_the_data(modality, width):
    x = torch.tensor([[-1.0, 3.0], [0.0, 1.0]])
    drawn = modality.canaries(x, 4000, generator(0, "canaries"))
    assert drawn.shape == (4000, 2) and drawn.dtype == torch.float32
    low, high = 1 - 2 * width, 1 + 2 * width
    assert low <= drawn.min() < low + 0.01 and high - 0.01 < drawn.max() <= high
    assert abs(drawn.mean() - 1) < 0.1 and drawn.std() == pytest.approx(4 * width / math.sqrt(12), rel=0.03)


def test_keys_and_labels_without_canaries_are_as_they_were():
    plain = dataset(PLAIN)
    assert "canaries" not in plain.spec()["options"] and plain.label == dataset(f"{PLAIN},canaries=0").label
    assert plain.spec() == dataset(f"{PLAIN},canaries=0").spec()
    audited = dataset(AUDITED)
    assert audited.spec()["options"]["canaries"] == 30 and audited.label.endswith(",canaries=30")
    assert dataset(audited.label) == audited
    keys = {cell("pia", dataset=name).model_key for name in (PLAIN, f"{PLAIN},canaries=0", AUDITED)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("canaries=1", "give at least 20, or 0 for no audit, got '1'"),
        ("canaries=19", "give at least 20"),
        ("canaries=-5", "must be at least 0"),
        ("canaries=41", "must not be more than members (40), got '41'"),
        ("canaries=1e9", "must be a whole number"),
        ("canaries=twenty", "must be a whole number"),
    ],
)
def test_a_wrong_number_is_one_line(cli, options, words):
    code, _, err = cli("run", "--dataset", f"{PLAIN},{options}", "--defense", "vp", "--attack", "loss", "--dry-run")
    assert code == 2 and words in err and "canaries" in err and err.count("\n") == 1


@pytest.mark.parametrize("base", ["blind", "loss+audit"])
def test_an_audit_needs_an_attack_on_the_model(base):
    with pytest.raises(UsageError, match="cannot be audited with; name an attack on the model, such as loss"):
        build(load(), "attack", f"{base}+audit")


def test_an_audit_is_what_its_base_is():
    for name in ("nn", "gsa", "likelihood", "adaptive", "lira:shadows=3", "secmi+filter"):
        base, audit = (build(load(), "attack", text) for text in (name, f"{name}+audit"))
        for what in ("access", "published", "adaptive", "tier", "shadow_models"):
            one, other = getattr(base, what), getattr(audit, what)
            assert one() == other() if callable(one) else one == other
        assert audit.audits and audit.label == f"{base.label}+audit" and audit.spec()["base"] == base.spec()


# ── who is trained on them ────────────────────────────────────────────────────────────────────────────────────────────
def rows(x):
    return [tuple(row.flatten().tolist()) for row in x]


@pytest.mark.parametrize("model", ["trained", "exact"])
def test_the_target_is_trained_on_the_included_ones(model):
    one = cell(dataset=AUDITED, model=model)
    data = split(one.dataset, one.seed)
    trained_on = training_data(one, data)
    assert torch.equal(trained_on[:40], data.members) and torch.equal(trained_on[40:], data.canaries[data.included])


def test_a_fresh_model_is_trained_on_others():
    one = cell(dataset=AUDITED, model="fresh")
    data = split(one.dataset, one.seed)
    trained_on = training_data(one, data)
    assert torch.equal(trained_on[:40], data.reference[:40]) and len(trained_on) == 55
    assert not set(rows(trained_on)) & set(rows(torch.cat([data.canaries, data.members, data.nonmembers])))


@pytest.mark.parametrize("model", ["exact", "trained"])
@pytest.mark.parametrize("kind", ["online", "offline"])
def test_shadow_models_hold_canaries_that_do_not_tell_those_of_the_target(tmp_path, kind, model):
    seen = []

    def score(model, x, ctx):
        seen[:] = ctx.shadows(4, kind)
        return {"x": -x.flatten(1).norm(dim=1)}

    attack = Scored.by("spy", score, shadow_models=lambda self: (4, kind))
    one, store = cell(attack, dataset=AUDITED, model=model, recipe=TINY | {"steps": 2}), Store(tmp_path / "store")
    made([one], store)
    assert not judged([one], store).failures
    data = split(one.dataset, one.seed)
    for shadow in seen:
        assert len(shadow.members) == 40 and len(shadow.canaries) == 15
        held = shadow.holds(data.canaries)
        assert held.sum() == (15 if kind == "online" else 0) and not torch.equal(held, data.included)
        assert shadow.holds(torch.cat([shadow.members, shadow.canaries])).all()
        assert not set(rows(shadow.members)) & set(rows(data.canaries))
        if model == "exact":
            assert isinstance(shadow.model.denoiser, ExactDenoiser) and len(shadow.model.denoiser.points) == 55
    assert len({tuple(rows(shadow.canaries)) for shadow in seen}) == 4


# ── what an audit finds ───────────────────────────────────────────────────────────────────────────────────────────────
def told(truth, values, attack="loss+audit", **more):
    """The metrics of scores ``values``, by setting, of canaries in the order of their draw."""
    truth = torch.as_tensor(truth)
    sides = {"members": truth, "nonmembers": ~truth}
    stored = {f"{side}/{s}": torch.as_tensor(v).double()[of] for s, v in values.items() for side, of in sides.items()}
    of = build(load(), "attack", attack), build(load(), "defense", "vp")
    return audit_metrics(stored, truth, *of, "digest", **more)


def test_the_guesses_are_counted():
    truth = np.arange(50) % 2 == 0
    right = truth + np.linspace(0, 0.1, 50)
    found = told(truth, {"t=0.1": right, "t=0.2": -right})
    assert (found.setting, found.canaries, found.guesses, found.correct) == ("t=0.1", 40, 20, 20)
    assert found.epsilon == one_run_epsilon(40, 20, 20) == pytest.approx(math.log(0.05**0.05 / (1 - 0.05**0.05)))
    assert found.auroc.value == 1 and found.tier == "network" and not list(audit_differences(found))
    assert told(truth, {"t=0.1": -right}).correct == 0
    wrong = right.copy()
    wrong[10:][np.argsort(-right[10:])[:3]] = -1  # three of those with the largest scores come last
    assert told(truth, {"t=0.1": wrong}).correct == 17
    assert told(truth, {"t=0.1": right, "t=0.2": -right}, unstable={"t=0.1": 0.5}).setting == "t=0.2"


def test_settings_and_guesses_do_not_rest_on_the_truth_of_what_is_guessed():
    """With scores that know nothing the bound is above 0 in at most 5 % of draws, however many settings there are."""
    rng, above, total = np.random.default_rng(0), 0, 400
    for _ in range(total):
        truth = rng.random(60) < 0.5
        above += told(truth, {f"t={k}": rng.normal(size=60) for k in range(10)}).epsilon > 0
    assert above <= 0.05 * total + 2 * math.sqrt(0.05 * 0.95 * total)
    constant = told(
        np.arange(60) % 3 > 0, {"t=0.1": np.zeros(60)}
    )  # of equal scores the first and the last are guessed
    assert constant.guesses == 24 and constant.correct == sum(k % 3 > 0 for k in range(12, 24)) + 4


def test_canaries_on_one_side_give_no_error():
    found = told(np.ones(20, dtype=bool), {"t=0.2": np.arange(20.0), "t=0.35": np.arange(20.0)})
    assert found.auroc.value is None and found.auroc.reason and found.setting == "t=0.35"  # the published one
    assert (found.guesses, found.correct, found.epsilon) == (8, 4, 0)


def audit(canaries=40, guesses=20, correct=20, **more):
    values = {"epsilon": one_run_epsilon(canaries, guesses, correct), "auroc": Estimate(value=0.9, interval=(0.8, 1.0))}
    fixed = {"setting": "t=0.1", "tier": "network", "adaptive": False, "scores": "s"}
    return AuditMetrics(**fixed | values | more, canaries=canaries, guesses=guesses, correct=correct)


def test_seeds_count_as_one_run():
    one = audit()
    assert audit_bound([one]) == one.epsilon and audit_bound([]) == 0
    assert audit_bound([one] * 5) == one_run_epsilon(200, 100, 100) > one.epsilon
    assert 0 < audit_bound([one] * 5, 1e-3) < audit_bound([one] * 5, 1e-6) < audit_bound([one] * 5)
    assert audit_bound([one], level=0.99) < one.epsilon


def test_an_edited_audit_is_found():
    (line,) = audit_differences(audit(epsilon=9.0))
    assert line == "ε of the audit does not follow from its guesses"
    (line,) = audit_differences(audit().model_copy(update={"correct": 21}))
    assert line == "21 right guesses of 20 on 40 canaries are impossible"


def test_an_audit_is_not_applicable_without_canaries(tmp_path):
    one, store = cell("loss+audit"), Store(tmp_path / "store")
    made([one], store)
    record = judged([one], store).records["loss+audit"]
    assert record.status == "n/a" and record.reason.startswith("the dataset has no canaries to audit with")
    assert record.audit is None and "audit" not in record.model_dump()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An overfitted model, the exact one and the fresh one, each under an audit, and under an attack alone."""
    store, records = Store(tmp_path_factory.mktemp("canaries")), {}
    for model in ("trained", "exact", "fresh"):
        cells = [cell(attack, dataset=AUDITED, model=model, recipe=OVERFITTED) for attack in ("loss+audit", "loss")]
        made(cells[:1], store)
        outcome = judged(cells, store)
        assert not outcome.failures
        records[model] = cells, outcome.records
    return records


@pytest.mark.parametrize("model", ["trained", "exact"])
def test_a_model_that_has_memorised_its_canaries_has_a_bound(measured, model):
    audit = measured[model][1]["loss+audit"].audit
    assert (audit.canaries, audit.guesses) == (24, 12) and audit.correct >= 11 and audit.epsilon > 0.5
    assert audit_bound([audit], 1e-3) < audit.epsilon


def test_a_model_of_other_canaries_has_none(measured):
    audit = measured["fresh"][1]["loss+audit"].audit
    assert audit.epsilon == 0 and audit.correct < 10


def test_an_ordinary_attack_is_scored_on_members_and_nonmembers(measured):
    for model, least in (("trained", 0.6), ("exact", 0.95)):
        record = measured[model][1]["loss"]
        assert (record.attack.members, record.attack.nonmembers) == (32, 48) and record.audit is None
        assert record.attack.calibrated.auroc.value > least
    assert abs(measured["fresh"][1]["loss"].attack.calibrated.auroc.value - 0.5) < 0.25


def test_the_record_of_an_audit(measured, tmp_path):
    cells, records = measured["exact"]
    record = records["loss+audit"]
    assert record.attack is None and record.split.canaries == (30, int(split(cells[0].dataset, 0).included.sum()))
    assert "ε ≥ 1.26 (12 of 12 guesses right at t=" in str(record)
    assert record.cost.forwards == 224
    path = tmp_path / "records" / cells[0].path
    write_record(path, record)
    assert read_record(path) == record
    trained, recorded = (part[0] if isinstance(part, list) else part["loss+audit"] for part in measured["trained"])
    assert cell_of(recorded, load()) == trained
    assert compare(record, record) == ("same", "same key, same scores")
    problems, found = validate(tmp_path, Known.of(load()))
    assert not problems and len(found) == 1
    wrong = record.audit.model_copy(update={"epsilon": 8.0})
    write_record(path, record.model_copy(update={"audit": wrong}).sealed())
    (problem,) = validate(tmp_path, Known.of(load()))[0]
    assert "ε of the audit does not follow from its guesses" in problem


def test_lira_can_be_audited_with(tmp_path):
    one, store = cell("lira:shadows=8,draws=2,times=[0.02]+audit", dataset=AUDITED), Store(tmp_path / "store")
    made([one], store)
    record = judged([one], store).records[one.labels["attack"]]
    assert record.audit.tier == "shadows" and record.audit.correct >= 11


def test_a_claim_counts_the_canaries_that_were_trained_on(tmp_path):
    defense = "vp+dp-sgd:noise=1,batch=8,draws=1,steps=1"
    one = cell("loss:draws=2+audit", dataset=AUDITED, defense=defense, model="trained", recipe=TINY)
    store = Store(tmp_path / "store")
    made([one], store)
    record = judged([one], store).records[one.labels["attack"]]
    assert record.model.claim.rate == 8 / (40 + record.split.canaries[1])
    assert record.audit.adaptive  # DP-SGD names it as an adversary
    assert not claim_problems({one.path: record}, Known.of(load()))


# ── the board ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_board_shows_audits_beside_the_attacks(measured, tmp_path, cli):
    (tmp_path / "suite.toml").write_text(
        f'datasets = ["{AUDITED}"]\ndefenses = ["vp"]\nattacks = ["loss", "loss+audit"]\nseeds = [0]\ncontrols = false\n'
        "[recipe.swiss-roll]\n" + "\n".join(f"{name} = {value}" for name, value in OVERFITTED.items())
    )
    for cells, records in measured.values():
        for one in cells:
            write_record(tmp_path / "records" / one.path, records[one.labels["attack"]])
    board = open_board(tmp_path, Known.of(load()))
    name = board.datasets()[0]
    assert board.attacks(name) == ["loss"] and board.audits(name) == ["loss+audit"]
    assert board.worst(name, "vp").attack == "loss"
    assert list(board.audited(name, "vp", "loss+audit")) == [0]
    table = audit_table(board, name)
    assert [row[1] for row in table.rows] == [
        ("trained",),
        ("exact (expect a large one)",),
        ("of fresh data (expect 0)",),
    ]
    assert [row[2][0].split()[0] for row in table.rows][1:] == ["1.26", "0.00"]
    code, _, err = cli("leaderboard", tmp_path)
    assert code == 0, err
    page = (tmp_path / "README.md").read_text()
    assert f"### Audit of {AUDITED}" in page and "1.26 (12 of 12)" in page and page.count("`loss+audit`") == 3
    code, out, _ = cli("export", tmp_path)
    assert code == 0 and "audit_epsilon" in out.splitlines()[0]
