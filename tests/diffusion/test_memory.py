"""The memory that gradients take: what is counted, and that batches are differentiated in parts that fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mibench import Recipe
from mibench.diffusion import model as module
from mibench.diffusion.likelihood import log_density, probes
from mibench.diffusion.memory import bytes_held
from mibench.diffusion.model import Model
from mibench_attacks.gsa import GSA, LIMIT
from mibench_defenses import HOLD, VP

torch.set_num_threads(1)


class Live:
    """While entered, the bytes that autograd keeps now, and the most that it has kept."""

    now = most = 0

    def __enter__(self) -> Live:
        live = self

        class Kept:
            def __init__(self, x: Tensor) -> None:
                self.x, self.size = x, x.untyped_storage().nbytes()
                live.now += self.size
                live.most = max(live.most, live.now)

            def __del__(self) -> None:
                live.now -= self.size

        self.hooks = torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.x)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.__exit__(*error)


def blank(network: str, shape: tuple[int, ...], order: int = 2) -> Model:
    if network != "mlp":
        pytest.importorskip("diffusers")
    model = HOLD(order=order).build_model(shape, 1.0, Recipe(network=network, width=64, depth=2))
    model.denoiser.eval()  # type: ignore[attr-defined]
    return model


@pytest.mark.parametrize("network", ["mlp", "unet-tiny"])
def test_likelihood_is_differentiated_in_parts_that_fit(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (1, 8, 8)
    model, draw = blank(network, shape), torch.Generator().manual_seed(0)
    u = model.at_rest(torch.randn(24, *shape, dtype=torch.float64, generator=draw))
    vectors, weight = probes(model, 1, draw)

    def run() -> tuple[Tensor, int, int]:
        own = model.for_access("gradients", "test")
        with Live() as live, torch.no_grad():
            found = log_density(own, u, vectors, weight, 3)
        assert live.now == 0 and own.cost.forwards == own.cost.vjps == 3 * len(u)
        return found, live.most, own.cost.vjps

    whole, most, _ = run()
    one = bytes_held(model.denoiser, u[:1], model.kernel(0.1))  # type: ignore[arg-type]
    monkeypatch.setattr(module, "HELD", 5 * one)
    parts, bounded, _ = run()
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-3)
    weights = sum(p.nbytes for p in model.denoiser.parameters())  # type: ignore[attr-defined]
    assert most > 15 * one and bounded < 7 * one + 3 * weights and bounded < most


def test_what_is_counted() -> None:
    """Of y = tanh(W x), tanh keeps its answer; weights do not count."""

    class Small(module.NetworkDenoiser):
        def forward(self, u: Tensor, kernel: Any) -> Tensor:
            return self.network(u).tanh()

    denoiser = Small(torch.nn.Linear(5, 3, bias=False).double(), 1.0)
    denoiser.requires_grad_(False)
    assert bytes_held(denoiser, torch.randn(7, 5, dtype=torch.float64), None) == 7 * 3 * 8  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_batch_of_512_on_the_published_network_fits_in_20_gb() -> None:
    pytest.importorskip("diffusers")
    model = VP().build_model((3, 32, 32), 1.0, Recipe(network="unet-cifar"))
    model.denoiser.eval()  # type: ignore[attr-defined]
    u = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
    each = bytes_held(model.denoiser, u, model.kernel(0.3)) / 2  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in model.denoiser.parameters())  # type: ignore[attr-defined]
    rows = model._rows(u, 0.3)
    assert 512 * each > 20e9 and rows * each + 8 * parameters < 12e9
    assert max(1, LIMIT // parameters) * (len(GSA().times) * each + 8 * parameters) < 2e9
