"""What an attack does to models and global state costs its own cell alone."""

import numpy as np
import pytest
import torch
from benches import Scored, attacked, cell, judged, made, norm

from mibench.errors import NotApplicable


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


def test_what_an_attack_does_to_its_samples_is_its_own_affair(exact, store, alone):
    def overwrite(model, x, ctx):
        x.zero_()
        return {"x": torch.arange(len(x)).double()}

    together = judged([attacked(exact, Scored.by("rude", overwrite)), attacked(exact, "pia")], store).records["pia"]
    assert together.attack == alone(attacked(exact, "pia")).records["pia"].attack


def test_weights_that_an_attack_changes_are_put_back(store, alone):
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
    assert outcome.records["pia"].attack == alone(attacked(one, "pia")).records["pia"].attack


def test_global_random_numbers_are_the_same_whoever_went_before(exact, store, alone):
    def chance(model, x, ctx):
        torch.set_default_dtype(torch.float64)
        return {"x": norm(x) + 1e-4 * torch.rand(len(x), dtype=torch.float64)}

    def seeding(model, x, ctx):
        torch.manual_seed(0)
        return {"x": norm(x)}

    lucky, seeds = Scored.by("lucky", chance), Scored.by("seeds", seeding)
    together = judged([attacked(exact, attack) for attack in (seeds, "pia", lucky)], store)
    single = alone(attacked(exact, lucky))
    assert together.records["lucky"].attack == single.records["lucky"].attack
    assert torch.get_default_dtype() == torch.float32


def replacing(self, model, members, nonmembers, ctx):
    """Puts functions in the place of those of torch and numpy, as a careless plugin does that wants a seed of its own."""
    torch.randn = lambda *shape, **more: torch.zeros(*shape, dtype=torch.float64)
    torch.Tensor.norm = lambda self, **more: self.flatten(1).sum(1)
    torch.nn.functional.pad = torch.linalg.eigh = np.random.randn = None


def test_functions_of_torch_that_an_attack_replaces_are_put_back(exact, store, alone):
    """Its neighbours have the scores that they have alone, and only the culprit is named."""
    culprit = Scored.by("culprit", lambda model, x, ctx: {"x": norm(x)}, fit=replacing)
    originals = torch.randn, torch.Tensor.norm, torch.nn.functional.pad, torch.linalg.eigh, np.random.randn
    together = judged([attacked(exact, attack) for attack in (culprit, "loss:draws=1", "pia")], store)
    assert (torch.randn, torch.Tensor.norm, torch.nn.functional.pad, torch.linalg.eigh, np.random.randn) == originals
    single = alone(*(attacked(exact, attack) for attack in ("loss:draws=1", "pia")))
    assert not together.failures and all(
        together.records[name].attack == single.records[name].attack for name in single.records
    )
    (note,) = [line for line in together.said if "replaced" in line]
    assert note.startswith("culprit replaced") and "torch.randn" in note
    assert (
        "torch.Tensor.norm" in note and "numpy.random.randn" in note and not any("replaced" in x for x in single.said)
    )
