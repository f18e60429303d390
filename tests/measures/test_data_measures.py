"""Measures that vary the members: jitter, mix-up, augmentation of images and of mels."""

import pytest
import torch
from scipy.stats import binomtest, kstest

from mibench.errors import UsageError
from mibench.recipe import Recipe
from mibench_datasets import Digits, Speech, SwissRoll
from mibench_defenses import VP
from mibench_measures import Augment, Jitter, Mixup, SpecAugment


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count, channels=2, height=6, width=7):
    """Images whose values are all different."""
    return torch.arange(count * channels * height * width, dtype=torch.float64).view(count, channels, height, width)


@pytest.mark.parametrize("measure", [Jitter(), Mixup(), Augment(flip=True, cutout=3), SpecAugment()])
def test_the_generator_alone_decides_and_the_members_stay(measure):
    x = images(16)
    kept = x.clone()
    first, again, other = (measure.vary(x, seeded(k)) for k in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(x, kept) and first.shape == x.shape and first.dtype == x.dtype


def test_jitter_is_normal_noise_of_its_standard_deviation():
    x = images(500)
    noise = (Jitter(std=0.3).vary(x, seeded()) - x) / 0.3
    assert kstest(noise.flatten(), "norm").pvalue > 1e-3


def test_mixup_draws_between_two_members():
    x = images(400)
    mixed = Mixup(alpha=0.4).vary(x, seeded())
    assert torch.allclose(mixed.sum(), x.sum(), rtol=0.1)
    # every one lies on the line between its own member and another one, at the same place for all its values
    partners = torch.randperm(400, generator=_after_shares(400))
    distance = (mixed - x).flatten(1)
    whole = (x[partners] - x).flatten(1)
    moved = whole.abs().sum(1) > 0
    share = 1 - distance[moved, 0] / whole[moved, 0]
    assert torch.allclose(distance[moved], (1 - share)[:, None] * whole[moved])
    assert kstest(share, "beta", args=(0.4, 0.4)).pvalue > 1e-3


def _after_shares(count):
    generator = seeded()
    torch.randint(4096, (count,), generator=generator)
    return generator


def test_mixup_keeps_the_mean_of_the_members():
    x = torch.randn(64, 5, generator=seeded(3), dtype=torch.float64)
    generator = seeded()
    mean = torch.stack([Mixup(alpha=1.0).vary(x, generator).mean(0) for _ in range(2000)]).mean(0)
    assert (mean - x.mean(0)).abs().max() < 0.02


def test_a_shift_moves_whole_pixels_and_reflects_at_the_edges():
    x = images(400)
    moved = Augment(shift=2).vary(x, seeded())
    # "reflect" padding of torch gives the images of all shifts
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    every = torch.stack([padded[:, :, r : r + 6, c : c + 7] for r in range(5) for c in range(5)])
    fits = (every == moved).flatten(2).all(2)
    assert (fits.sum(0) == 1).all()
    assert (fits.sum(1) > 0).all()


def test_half_of_the_images_are_mirrored():
    x = images(1000)
    mirrored = Augment(shift=0, flip=True).vary(x, seeded())
    as_it_was, flipped = ((mirrored == y).flatten(1).all(1) for y in (x, x.flip(3)))
    assert (as_it_was ^ flipped).all()
    assert binomtest(int(flipped.sum()), 1000).pvalue > 1e-3


def test_cutout_hides_a_square_with_the_mean():
    x = images(2000, height=9, width=8)
    hidden = Augment(shift=0, cutout=3).vary(x, seeded())
    changed = hidden != x
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(hidden[changed], x.mean((2, 3), keepdim=True).expand_as(x)[changed])
    rows, columns = changed[:, 0].any(2).sum(1), changed[:, 0].any(1).sum(1)
    assert torch.equal(changed[:, 0].sum((1, 2)), rows * columns)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3}  # at an edge a row or column is outside
    inside = (rows == 3) & (columns == 3)
    assert abs(inside.double().mean().item() - 7 / 9 * 6 / 8) < 0.05


def test_a_constant_image_stays_as_it_is():
    x = torch.full((50, 1, 8, 8), 0.25, dtype=torch.float64)
    assert torch.equal(Augment(shift=3, flip=True, cutout=4).vary(x, seeded()), x)


def test_augment_without_any_option_changes_nothing():
    x = images(5)
    assert torch.equal(Augment(shift=0).vary(x, seeded()), x)


def test_masks_of_mels_have_uniform_widths_and_hold_zeros():
    x = torch.ones(3000, 1, 20, 30, dtype=torch.float64)
    masked = SpecAugment(bands=4, frames=9).vary(x, seeded()) == 0
    bands, frames = masked[:, 0].all(2), masked[:, 0].all(1)
    assert torch.equal(masked[:, 0], bands[:, :, None] | frames[:, None])
    for mask, widest in ((bands, 4), (frames, 9)):
        widths = mask.sum(1)
        counts = torch.bincount(widths, minlength=widest + 1)
        assert len(counts) == widest + 1 and (counts / 3000 - 1 / (widest + 1)).abs().max() < 0.03
        starts = mask.double().diff(dim=1, prepend=torch.zeros(3000, 1)).clamp(min=0).sum(1)
        assert torch.equal(starts, (widths > 0).double())  # one stretch
        ends = mask[:, 0][widths == 1].double().mean(), mask[:, -1][widths == 1].double().mean()
        assert all(abs(end - 1 / mask.shape[1]) < 0.05 for end in ends)


def test_masks_wider_than_the_mel_and_several():
    x = torch.ones(200, 1, 6, 5, dtype=torch.float64)
    assert (SpecAugment(bands=100, frames=0).vary(x, seeded()) == 0).flatten(1).all(1).any()
    assert torch.equal(SpecAugment(bands=0, frames=0).vary(x, seeded()), x)
    several = SpecAugment(bands=2, frames=0, masks=3).vary(x, seeded())[:, 0, :, 0] == 0
    assert 3 <= several.sum(1).max() <= 6


def test_other_data_are_refused():
    recipe = Recipe()
    Augment().check(VP(), Digits(), recipe)
    SpecAugment().check(VP(), Speech(), recipe)
    with pytest.raises(UsageError, match="augment is for images; dataset swiss-roll is of kind 'points'"):
        Augment().check(VP(), SwissRoll(), recipe)
    with pytest.raises(UsageError, match="spec-augment is for mels; dataset digits is of kind 'image'"):
        SpecAugment().check(VP(), Digits(), recipe)
    with pytest.raises(UsageError, match="shift 6 moves images of 6 × 7 pixels away"):
        Augment(shift=6).vary(images(2), seeded())
