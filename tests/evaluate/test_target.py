"""The model as its defense releases it, and what of it an attack may use."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from benches import Scored, attacked, cell, judged, made, norm
from torch.autograd import forward_ad

from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench_defenses import VP


class Pruned(VP):
    """Releases the model with smaller weights, in place, and noisy answers."""

    name: ClassVar = "pruned"

    def release(self, model):
        with torch.no_grad():
            for parameter in model.denoiser.parameters():
                parameter.mul_(0.9).add_(0.01 * torch.randn_like(parameter))
        return model


def test_a_model_is_released_once_whoever_else_attacks_it(store, alone):
    """The release is the same for samples and attacks, and does not depend on how many there are."""
    one = replace(cell(model="trained"), defense=Pruned())
    made([one], store)
    many = judged([one, *(attacked(one, text) for text in ("secmi", "pia", "loss:draws=1"))], store)
    single = alone(attacked(one, "loss:draws=1"))
    assert many.records["loss:draws=1"].attack == single.records["loss:draws=1"].attack


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
    "generated samples": ("samples", [drawing]),
    "answers": ("network", [asking]),
    "gradients": ("gradients", [differentiating, functional, pulling]),
    "weights": ("weights", [reaching]),
}


def test_an_attack_gets_what_it_declares_and_no_more(store):
    """Beyond that its cell fails in one line, which names what it asked for and what it declares."""
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
    outcome = judged(cells, store)
    assert {name: str(error) for name, error in outcome.failures.items()} == {
        n: why for n, why in expected.items() if why
    }
    assert set(outcome.records) == {name for name, why in expected.items() if not why}


@pytest.mark.parametrize(("use", "vjps"), [(differentiating, 1), (functional, 1), (pulling, 1), (asking, 0)])
def test_backward_passes_are_counted_whoever_makes_them(exact, store, use, vjps):
    made([exact], store)
    record = judged([attacked(exact, Scored.by("counted", use, access="gradients"))], store).records["counted"]
    assert (record.cost.forwards, record.cost.vjps) == (1, vjps)


def test_forward_derivatives_need_access_to_gradients():
    """Torch computes these under no_grad, too."""
    model = Model(VP().process(), ExactDenoiser(torch.zeros(1, 2)), (2,)).for_access("network", "attack")
    u = torch.ones(3, 1, 2, dtype=torch.float64)
    with torch.no_grad(), forward_ad.dual_level():
        answer = model.eps(forward_ad.make_dual(u, u), 0.1)
        assert forward_ad.unpack_dual(answer).tangent is None


class Silent(VP):
    """Gives answers and nothing to differentiate."""

    name = "silent"

    def release(self, model):
        return Model(model.process, lambda u, kernel: model.denoiser(u.detach(), kernel), model.shape)


def test_what_a_model_does_not_have_is_no_fault_of_the_attack(exact, store):
    heavy = Scored.by("heavy", reaching, access="weights")
    record = judged([attacked(exact, heavy)], store).records["heavy"]
    assert (record.status, record.reason) == ("n/a", "the exact model has no weights")

    closed = replace(attacked(exact, Scored.by("pulling", pulling, access="gradients")), defense=Silent())
    made([closed], store)
    record = judged([closed], store).records["pulling"]
    assert (record.status, record.reason) == ("n/a", "the answers of this model have no gradients")
