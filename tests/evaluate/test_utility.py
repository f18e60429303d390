"""Utility of the exact model: through the sampler, its samples are the data."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from benches import cell, judged, made

from mibench import IMAGE, Dataset
from mibench.data import split
from mibench.errors import MibenchError
from mibench.evaluate import utility
from mibench.evaluate.utility import gaussian
from mibench.metrics.frechet import frechet
from mibench.metrics.kid import kid
from mibench.results.facts import CostFacts
from mibench.results.store import Store
from mibench.suite.cells import Utility


@pytest.mark.parametrize("dataset", ["digits", "swiss-roll"])
@pytest.mark.parametrize("defense", ["vp", "ve", "cld", "hold2", "hold3", "hold4"])
def test_the_exact_model_generates_the_data(tmp_path, defense, dataset):
    cells, store = [cell(defense=defense, dataset=dataset, recipe={})], Store(tmp_path)
    made(cells, store)
    outcome = judged(cells, store)
    assert not outcome.failures
    record = outcome.records["utility"]
    utility = record.utility
    assert utility.n == 1000 and record.cost == CostFacts(forwards=50, vjps=0)
    assert abs(utility.fraction) <= 0.25
    assert utility.copied >= 0.9
    assert utility.gauss > 2 * utility.copies > utility.null


@pytest.mark.parametrize("d", [40, 81], ids=["more members than dimensions", "fewer"])
def test_a_gaussian_has_the_mean_and_the_covariance_of_the_members(d):
    rows = torch.cat([torch.eye(40), -torch.eye(40)])  # six deviations at most: nothing is clipped
    members = 3 + torch.cat([rows, rows, rows[:, :1]], dim=1)[:, :d].reshape(80, 1, d)
    drawn = gaussian(members, 20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 1, d) and drawn.dtype == torch.float32
    flat = drawn.flatten(1).double()
    covariance = torch.cov(members.flatten(1).double().T)
    assert (flat.mean(0) - 3).abs().max() < 0.006  # five standard errors, as below
    assert (torch.cov(flat.T) - covariance).abs().max() < 5 * 2**0.5 * covariance.max() / 20_000**0.5


def test_a_gaussian_stays_within_the_range_of_the_members():
    members = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    drawn = gaussian(members, 1000, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.amax(0), members.amax(0)) and torch.equal(drawn.amin(0), members.amin(0))


class Squares(Dataset):
    """Images of 32 pixels that hold a bright square somewhere."""

    name: ClassVar = "squares"
    modality = IMAGE

    def pool(self, generator):
        places = torch.randint(24, (self.members + self.nonmembers + self.reference, 2), generator=generator)
        pool = torch.rand(len(places), 1, 32, 32, generator=generator) / 5 - 1
        for image, (i, j) in zip(pool, places.tolist(), strict=True):
            image[:, i : i + 8, j : j + 8] += 1
        return pool


class Made:
    """Stands in for Inception: five features, and how often they were asked for."""

    name, version = "inception-2048-00000000", 1
    asked: ClassVar = []

    def __init__(self, device):
        pass

    def __call__(self, x):
        self.asked.append(len(x))
        return torch.stack([x.double().mean((1, 2, 3)) ** k for k in range(1, 6)], dim=1)


class Rest(Squares):
    """The same images as what is left of them beside a large mean, which is given."""

    def normalisation(self, members):
        return members.mean().item(), members.std().item()

    def pool(self, generator):
        return super().pool(generator) / 10

    def conditions(self, generator):
        means = super().pool(generator) * 0.9 - 3
        return means, means[:9]

    def complete(self, x, conditions):
        return x + conditions


class Whole(Rest):
    """Those images themselves."""

    def pool(self, generator):
        return Squares.pool(self, generator) - 3

    def conditions(self, generator):
        return None


def test_completed_samples_are_measured_at_their_own_scale(tmp_path, squares):
    """Baselines are those of the data themselves; the samples of an exact model are completed under prompts, too."""
    sizes, found = squares.dataset.model_dump(include={"members", "nonmembers", "reference"}), []
    for kind in (Rest, Whole):
        store, one = Store(tmp_path / kind.__name__), replace(squares, dataset=kind(**sizes))
        made([one], store)
        found.append(judged([one], store).records["utility"].utility)
    for name in ("copies", "gauss", "null"):
        assert getattr(found[0], name) == pytest.approx(getattr(found[1], name), rel=1e-3)
    assert found[0].fraction < 1


@pytest.fixture
def squares():
    small = Squares(members=20, nonmembers=20, reference=40)
    return replace(cell(recipe={}), dataset=small, utility=Utility(samples=100, evaluations=5))


def test_images_are_measured_with_inception_features_too_where_they_are_at_hand(tmp_path, squares, monkeypatch):
    monkeypatch.setattr(utility, "Inception", Made)
    store, space, outcomes = Store(tmp_path), Made("cpu"), []
    for _ in range(2):
        made([squares], store)
        outcomes.append(judged([squares], store))
        assert Made.asked == ([40, 100, 100, 100] if len(outcomes) == 1 else [100])  # what does not change is stored
        Made.asked.clear()
    first, again = (outcome.records["utility"].utility for outcome in outcomes)
    assert first == again and not any("FID" in line for outcome in outcomes for line in outcome.said)
    drawn = store.load("samples", outcomes[0].records["utility"].key)[0]["samples"]
    reference = split(squares.dataset, 0).reference
    assert first.space == "random-conv-64" and first.inception.space == Made.name
    assert first.inception.distance == pytest.approx(frechet(space(drawn), space(reference)))
    assert first.inception.kid == pytest.approx(kid(space(drawn), space(reference), subsets=10).mean)


def test_without_weights_a_line_says_so(tmp_path, squares, monkeypatch):
    def missing(device):
        raise MibenchError("no Inception weights")

    monkeypatch.setattr(utility, "Inception", missing)
    store = Store(tmp_path)
    made([squares], store)
    outcome = judged([squares], store)
    assert "no FID, FD (random-conv-64) instead: no Inception weights" in outcome.said
    assert outcome.records["utility"].utility.inception is None
    monkeypatch.setenv("MIBENCH_INCEPTION", "download")
    assert str(judged([squares], store).failures["utility"]) == "no Inception weights"
