"""Measures that change the loss of a step: flooding and distillation."""

from dataclasses import replace

import pytest
import torch

from mibench import defense
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.training import SingleTrainer
from mibench.recipe import Recipe
from mibench_defenses import VP
from mibench_measures import Distill, Flood

RECIPE = Recipe(steps=4, batch=32, width=16, depth=1)
MEMBERS = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("mean", "sign"), [(0.5, 1), (0.1, -1)])
def test_flooding_turns_the_gradient_below_its_level(mean, sign):
    losses = torch.tensor([mean - 0.05, mean + 0.05], requires_grad=True)
    flooded = Flood(level=0.3).reduce(VP(), losses)
    flooded.backward()
    assert flooded.item() == pytest.approx(abs(mean - 0.3) + 0.3)
    assert losses.grad.tolist() == [sign / 2, sign / 2]


def test_flooding_at_level_0_is_the_plain_loss():
    losses = torch.rand(8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Flood(level=0).reduce(VP(), losses), losses.mean())


def student(name="vp+distill"):
    """A trainer whose teachers are the exact models of the two halves."""
    objective = defense(name)
    model = objective.build_model((2,), 1.0, RECIPE)
    teachers = [
        Model(model.process, ExactDenoiser(MEMBERS[rows]), (2,)) for _, rows in objective.teachers(len(MEMBERS))
    ]
    return SingleTrainer(objective, model, MEMBERS, RECIPE, 0, teachers)


def test_the_two_teachers_divide_the_members():
    (one, first), (other, second) = defense("hold2+dropout+distill").teachers(7)
    assert first.tolist() == [0, 2, 4, 6] and second.tolist() == [1, 3, 5]
    assert one.label == other.label == "hold2+dropout"


@pytest.mark.parametrize("name", ["vp+distill", "vp+distill+flood:level=0.0"])
def test_a_member_is_learnt_from_the_teacher_that_has_not_seen_it(name):
    training = student(name)
    batch = training.batch()
    u, kernel, half = batch.u, batch.kernel, batch.rows % 2
    even, odd = (teacher.denoiser(u, kernel) for teacher in training.teachers)
    target = torch.where((half == 0)[:, None], odd, even)
    expected = VP().losses(training.model, replace(batch, target=target))
    assert torch.equal(training.losses(batch), expected)
    assert not torch.allclose(expected, VP().losses(training.model, batch))


def test_a_student_of_one_half_needs_one_teacher():
    training = student()
    batch = training.batch()
    even = replace(batch, rows=torch.zeros_like(batch.rows))
    target = training.teachers[1].denoiser(batch.u, batch.kernel)
    assert torch.equal(training.losses(even), VP().losses(training.model, replace(batch, target=target)))


def test_only_the_student_learns():
    training = student()
    teacher = VP().build_model((2,), 1.0, RECIPE, seed=3)
    training.teachers = (teacher, teacher)
    training.loss(training.batch()).backward()
    assert all(p.grad is None for p in network_of(teacher).parameters())
    assert any(p.grad is not None and p.grad.any() for p in network_of(training.model).parameters())
    assert Distill.mixes
