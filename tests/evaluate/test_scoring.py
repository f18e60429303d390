"""What an attack may return: anything else ends its own cell with one line."""

import pytest
import torch
from benches import Scored, attacked, judged, norm

from mibench.data import split
from mibench.errors import Diverged
from mibench.evaluate import scoring


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


def test_an_attack_that_misbehaves_costs_its_own_cell(exact, store, monkeypatch, alone):
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
    single = alone(attacked(exact, "secmi"))
    assert single.records["secmi"].attack == outcome.records["secmi"].attack


def test_one_setting_may_be_constant(exact, store):
    """Only where no setting tells anything is there nothing to report."""
    attack = Scored.by("half", lambda model, x, ctx: {"x": torch.ones(len(x)), "y": norm(x)})
    record = judged([attacked(exact, attack)], store).records["half"]
    assert record.attack.settings["x"] == (0.5, 0.5) and record.attack.published.setting == "x"


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
