"""The networks that are no U-Nets."""

import torch
from torch import nn
from torch.nn import functional

from mibench.diffusion.networks import build
from mibench.diffusion.stacked import can_stack
from mibench.recipe import Recipe
from mibench_defenses import HOLD

RECIPE = Recipe(network="relu-mlp", depth=15, width=16)


def test_the_network_of_the_paper_is_layer_norm_and_relu_after_each_of_its_linear_layers():
    torch.manual_seed(0)
    network = build(3, (2,), RECIPE)
    blocks, log_snr = torch.randn(5, 3, 2), torch.linspace(-4, 4, 5)
    h = torch.cat([blocks.flatten(1), log_snr[:, None] / 10], 1)
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert len(linear) == 16
    for layer in linear[:-1]:
        h = functional.layer_norm(layer(h), (16,)).relu()
    torch.testing.assert_close(network(blocks, log_snr), linear[-1](h))


def test_models_with_it_train_together():
    models = [HOLD(order=2).build_model((2,), 1.0, RECIPE, seed=seed) for seed in (0, 1)]
    assert can_stack(HOLD(order=2), models)
