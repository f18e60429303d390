"""What each modality says of its samples, and a modality that a plugin brings."""

import numpy as np
import pytest
import torch

from mibench import IMAGE, MEL, POINTS, Context, Modality, NotApplicable
from mibench.plugins import load
from mibench.results.record import read_record
from mibench.seeds import generator

RAMP = torch.linspace(-0.5, 0.5, 64, dtype=torch.float64).view(1, 8, 8)


@pytest.mark.parametrize("modality", [POINTS, IMAGE, MEL], ids=lambda modality: modality.name)
def test_neighbours_are_near_and_move_every_sample_alike(modality):
    """The last copies are further off than the first; a smooth image stays itself."""
    x = torch.stack([RAMP, 2 * RAMP, RAMP.flip(-1)])
    moved = modality.neighbours(x, 5, generator(0, "x"))
    sizes = [(one - x).square().mean().sqrt().item() for one in moved]
    assert 0 < sizes[0] < sizes[-1] < 0.5
    for one, again in zip(moved, modality.neighbours(x[:1], 5, generator(0, "x")), strict=True):
        torch.testing.assert_close(one[:1], again)


def test_moves_of_spectrograms_shift_in_time_and_rest_a_run_of_bands():
    """A constant sound stays; a click is moved by the same time everywhere but in the bands at rest."""
    constant = torch.arange(40.0, dtype=torch.float64)[None, None, :, None].expand(2, 1, 40, 32)
    click = torch.zeros(1, 1, 40, 32, dtype=torch.float64)
    click[..., 16] = 1
    time = torch.arange(32, dtype=torch.float64)
    for still, moved in zip(*(MEL.neighbours(x, 5, generator(0, "x")) for x in (constant, click)), strict=True):
        torch.testing.assert_close(still, constant)
        at_rest = moved[0, 0].std(1) < 1e-9
        assert 2 <= at_rest.sum() <= 8
        shift = (moved[0, 0, ~at_rest] @ time - 16).abs()
        torch.testing.assert_close(shift, shift[:1].expand_as(shift))
        assert 0.02 * 32 - 1e-6 <= shift[0] <= 0.1 * 32 + 1e-6


def test_points_of_the_plane_have_neighbours():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert all(0 < (one - x).norm() < 1 for one in POINTS.neighbours(x, 3, generator(0, "x")))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_figure_of_points_of_any_dimension(d):
    """One dimension is a histogram; of several the title says that two principal components are drawn."""
    x = torch.randn(300, d, generator=torch.Generator().manual_seed(0)) * torch.arange(d, 0, -1)
    figure = POINTS.figure({"members": x, "held out": x + 3, "vp": 2 * x})
    drawn = [bool(axis.patches if d == 1 else axis.collections) for axis in figure.axes]
    assert drawn == [True, True, True, False]
    title = figure.get_suptitle()
    assert ("two principal components of 5 dimensions, 7" in title) == (d > 2) == bool(title)
    if d > 2:
        held, samples = (figure.axes[k].collections[0].get_offsets().std(0) for k in (1, 2))
        np.testing.assert_allclose(held, [5, 4], rtol=0.1)
        np.testing.assert_allclose(samples, 2 * held, rtol=1e-6)


def test_a_figure_of_spectrograms_has_low_bands_at_the_bottom():
    items = torch.zeros(12, 1, 40, 32)
    items[:, :, 0] = 1
    figure = MEL.figure({"members": items, "held out": items[:10]})
    drawn = figure.axes[0].images[0].get_array()
    assert drawn[-1].min() == 1 and drawn[0].max() == 0


def test_the_pixels_of_a_grid():
    x = torch.linspace(-1, 1, 3).view(3, 1, 1, 1).expand(3, 1, 64, 64)
    grid = IMAGE.grid(x)
    assert grid.shape == (2 * 66, 2 * 66, 3) and grid.dtype == np.uint8
    assert {(grid[i, j].tolist()[0]) for i, j in ((1, 1), (1, 67), (67, 1), (67, 67))} == {0, 128, 255}
    assert grid[0].min() == 255 and POINTS.grid(torch.zeros(4, 2)) is None


def test_what_has_no_default_must_be_given():
    class Bare(Modality):
        name = "graph"

    with pytest.raises(NotApplicable, match="graph have no neighbours"):
        Bare().neighbours(RAMP, 3, generator(0, "x"))
    assert Context(0, modality=Bare()).modality.images is False


PLUGIN = '''
"""Counts in three bins: a modality of its own, a dataset, and an attack that uses its neighbours."""
import torch
from mibench import Attack, Dataset, Modality, hookimpl


class Shares:
    name, version = "shares-3", 1

    def __call__(self, x):
        return (x.double() + 1e-3).abs().log()


class Histogram(Modality):
    name = "histogram"
    space = Shares()

    def move(self, x, strength, generator):
        return x * (1.01 + 0.1 * strength)

    def blind_features(self, x):
        return x.sum(1)


class Bins(Dataset):
    """Three positive numbers."""

    name = "bins"
    modality = Histogram()

    def pool(self, generator):
        return torch.rand(self.members + self.nonmembers + self.reference, 3, generator=generator) + 0.5


class Drift(Attack):
    """The error of a moved copy over that of the sample."""

    name = "drift"
    published = "first"

    def score(self, model, x, ctx):
        (moved,) = ctx.modality.neighbours(x, 1, ctx.generator("x"))
        now, then = (model.eps(model.at_rest(y), model.process.t_min).flatten(1).square().sum(1) for y in (x, moved))
        return {"first": then / (now + 1e-6)}


@hookimpl
def mibench_datasets():
    return [Bins]


@hookimpl
def mibench_attacks():
    return [Drift]
'''


@pytest.mark.slow
def test_a_plugin_adds_a_modality_in_one_file(cli, tmp_path):
    """Utility in its own feature space, an attack on its neighbours, and its picture."""
    file = tmp_path / "bins.py"
    file.write_text(PLUGIN)
    code, out, err = cli(
        "run", "--plugin", file, "--defense", "vp", "--attack", "drift", "--model", "exact", "--samples", "100",
        "--dataset", "bins:members=20,nonmembers=20,reference=40", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, out + err
    files = [*(tmp_path / "store" / "records").rglob("*.json")]
    records = [read_record(path) for path in files]
    assert [record.utility.space for record in records if record.utility] == ["shares-3"]
    assert [record.attack.calibrated.auroc.value > 0.9 for record in records if record.attack] == [True]
    assert not any("histogram" in path.read_text() for path in files)
    code, out, err = cli("samples", "--each", "--plugin", file, "--out", tmp_path / "drawn")
    assert code == 0, err
    (picture,) = (tmp_path / "drawn").rglob("*.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("modality", ['"image"', "Histogram", "Modality()", "None"])
def test_what_is_no_modality_is_one_line(tmp_path, modality):
    file = tmp_path / "bad.py"
    file.write_text(PLUGIN.replace("modality = Histogram()", f"modality = {modality}"))
    registry = load((str(file),))
    (plugin,) = (one for one in registry.plugins if one.name == "bad")
    ((problem, remedy),) = plugin.problems
    assert "Bins" in problem and "mibench.Modality such as mibench.IMAGE" in remedy
    assert "bins" not in registry.components["dataset"] and "drift" in registry.components["attack"]
