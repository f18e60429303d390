"""The tests of this plugin: what mibench asks of every component, and what is special to these."""

import pytest
import torch
from mibench_template import InputNoise, RandomSign, Rings

import mibench
from mibench.cli import main


def test_every_component_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    """``mibench check`` finds nothing wrong; its output is shown if it does."""
    assert main(["check", "mibench-template"]) == 0, capsys.readouterr().out


def test_points_lie_on_the_rings() -> None:
    """Without noise each point has one of the radii."""
    points = Rings(rings=3, noise=0.0).pool(torch.Generator().manual_seed(0))
    radii = points.norm(dim=1, keepdim=True)
    assert (radii - torch.tensor([0.5, 1.0, 1.5])).abs().amin(1).max() < 1e-6


def test_input_noise_is_the_usual_process() -> None:
    """Only the loss differs from VP."""
    assert torch.equal(InputNoise().process().kernel(0.3).factor, mibench.defense("vp").process().kernel(0.3).factor)


def test_half_of_the_members_change_their_sign() -> None:
    """Nothing else changes."""
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    seen = RandomSign().vary(x, torch.Generator().manual_seed(1))
    changed = (seen == -x).all(1)
    assert torch.equal(seen[~changed], x[~changed])
    assert 400 < changed.sum() < 600
