"""The sum of clipped gradients of single members: the plain gradient without a clip, and what the clip promises."""

from __future__ import annotations

import functools
import math
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mibench import Recipe
from mibench.diffusion.losses import noised, weighted_error
from mibench.diffusion.model import network_of
from mibench.diffusion.per_member import clipped_sum
from mibench.diffusion.process import Kernel
from mibench.diffusion.training import TIMES, time_table
from mibench.errors import UsageError
from mibench_defenses import HOLD

torch.set_num_threads(1)

RECIPES = {"mlp": Recipe(width=24, depth=2), "unet-tiny": Recipe(network="unet-tiny")}
Case = tuple[Any, nn.Module, list[Tensor]]


@functools.cache
def case(network: str, members: int, draws: int) -> Case:
    """Loss, network and noised states of members under HOLD(2), (B, K, 2, 1, 8, 8)."""
    if network != "mlp":
        pytest.importorskip("diffusers")
    defense, recipe, generator = HOLD(order=2), RECIPES[network], torch.Generator().manual_seed(members)
    model = defense.build_model((1, 8, 8), 1.0, recipe)
    count = members * draws
    kernel = time_table(model.process, recipe, model.device).take(torch.randint(TIMES, (count,), generator=generator))
    x = torch.randn(members, 1, 8, 8, generator=generator).double().repeat_interleave(draws, 0)
    eps = torch.randn(count, 2, 1, 8, 8, generator=generator).double()
    parts = (kernel.mean_coef, kernel.factor, kernel.inverse, kernel.whitened_mean)
    inputs = [part.unflatten(0, (members, draws)) for part in (noised(x, kernel, eps), eps[:, -1], *parts)]
    denoiser = network_of(model).train()

    def loss(u: Tensor, target: Tensor, *kernel: Tensor) -> Tensor:
        return weighted_error(denoiser, u, Kernel(*kernel), target)

    return loss, denoiser, inputs


def plain(loss: Any, module: nn.Module, inputs: list[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """The gradient of the mean over all states, times the number of members."""
    module.zero_grad()
    value = loss(*(x.flatten(0, 1) for x in inputs)).mean()
    value.backward()
    return {name: p.grad * len(inputs[0]) for name, p in module.named_parameters() if p.grad is not None}, value


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize("network", list(RECIPES))
def test_without_a_clip_it_is_the_plain_gradient(network: str, draws: int) -> None:
    loss, module, inputs = case(network, 6, draws)
    expected, value = plain(loss, module, inputs)
    found, mean = clipped_sum(loss, module, inputs, math.inf, chunk=4)
    assert list(found) == [name for name, _ in module.named_parameters()] == list(expected)
    assert (flat(found) - flat(expected)).norm() <= 2e-4 * flat(expected).norm()
    torch.testing.assert_close(mean, value.detach(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("network", list(RECIPES))
def test_each_member_is_clipped_by_itself(network: str) -> None:
    """As one after another, with a clip that some gradients exceed and others do not."""
    loss, module, inputs = case(network, 6, 1)
    alone = [flat(plain(loss, module, [x[i : i + 1] for x in inputs])[0]) for i in range(6)]
    clip = float(torch.stack([g.norm() for g in alone]).median()) * 1.01
    expected = sum(g * min(1.0, clip / float(g.norm())) for g in alone)
    found = flat(clipped_sum(loss, module, inputs, clip)[0])
    assert (found - expected).norm() <= 2e-4 * clip


@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
def test_the_size_of_a_chunk_does_not_matter(chunk: int) -> None:
    loss, module, inputs = case("mlp", 12, 2)
    expected, value = clipped_sum(loss, module, inputs, 0.5, chunk=12)
    found, mean = clipped_sum(loss, module, inputs, 0.5, chunk)
    assert (flat(found) - flat(expected)).norm() <= 1e-5 * flat(expected).norm()
    torch.testing.assert_close(mean, value)


def test_memory_is_bounded_by_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of one chunk are gone before those of the next are added."""
    loss, module, inputs = case("mlp", 12, 2)
    alive: list[weakref.ref[Tensor]] = []
    largest, tensordot = 0, torch.tensordot

    def spied(factor: Tensor, gradient: Tensor, dims: int) -> Tensor:
        nonlocal largest
        alive.append(weakref.ref(gradient))
        sizes = [len(each) for ref in alive if (each := ref()) is not None]
        assert max(sizes) <= 5
        largest = max(largest, len(sizes))
        return tensordot(factor, gradient, dims)

    monkeypatch.setattr(torch, "tensordot", spied)
    clipped_sum(loss, module, inputs, 1.0, chunk=5)
    assert largest == len(list(module.parameters())) and len(alive) == 3 * largest


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 11), st.floats(1e-4, 10), st.floats(1e-3, 1e3))
def test_one_member_changes_the_sum_by_at_most_the_clip(member: int, clip: float, scale: float) -> None:
    """However large its loss is."""
    loss, module, (u, target, *kernel) = case("mlp", 12, 2)
    target = torch.cat([target[:member], scale * target[member : member + 1], target[member + 1 :]])
    inputs = [u, target, *kernel]
    others = [torch.cat([x[:member], x[member + 1 :]]) for x in inputs]
    with_it, without = (flat(clipped_sum(loss, module, part, clip)[0]) for part in (inputs, others))
    assert (with_it - without).norm() <= clip * (1 + 1e-4)


def test_no_member_gives_zeros() -> None:
    loss, module, inputs = case("mlp", 6, 1)
    found, mean = clipped_sum(loss, module, [x[:0] for x in inputs], 1.0)
    assert mean == 0 and all(torch.equal(found[name], torch.zeros_like(p)) for name, p in module.named_parameters())


class Unused(nn.Module):
    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.used, self.unused, self.between = nn.Linear(3, 4), nn.Linear(2, 2), nn.Sequential(*between)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.between(self.used(x)) * self.frozen).square().mean(1)


def test_parameters_without_a_gradient() -> None:
    """What the loss does not depend on has zeros, what is frozen has no entry; a module may be its own loss."""
    module = Unused()
    found, _ = clipped_sum(module, module, [torch.randn(5, 2, 3)], 1.0)
    assert "frozen" not in found and found["unused.weight"].count_nonzero() == 0
    assert found["used.weight"].count_nonzero() > 0
    assert all(p.grad is None for p in module.parameters())


def test_members_of_no_gradient_are_no_division_by_zero() -> None:
    found, _ = clipped_sum(lambda x: 0 * module(x), module := nn.Linear(3, 1), [torch.randn(4, 1, 3)], 1.0)
    assert torch.isfinite(flat(found)).all()


def test_dropout_is_drawn_for_each_member() -> None:
    """Of one mask for all, whole units would have no gradient. The draws are those of a batch."""
    module = Unused(nn.Dropout(0.5))
    x = torch.ones(64, 1, 3)
    torch.manual_seed(0)
    found, _ = clipped_sum(module, module, [x], math.inf, chunk=64)
    assert (found["used.weight"].abs().sum(1) > 0).all()
    torch.manual_seed(0)
    expected, _ = plain(module, module, [x])
    torch.testing.assert_close(found["used.weight"], expected["used.weight"], rtol=2e-4, atol=0)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.SyncBatchNorm(4)])
def test_layers_that_mix_members_are_refused(layer: nn.Module) -> None:
    module = Unused(layer)
    with pytest.raises(UsageError, match=r"BatchNorm\w* mixes members") as raised:
        clipped_sum(module, module, [torch.ones(2, 1, 3)], 1.0)
    assert "\n" not in str(raised.value)
