"""What batches are drawn from: a byte per value loses nothing, and augmentation is what it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mibench import MibenchError, Recipe
from mibench.data import split
from mibench.diffusion.model import network_of
from mibench.diffusion.pool import SHIFT, Pool
from mibench.diffusion.stacked import train_stacked
from mibench.diffusion.training import train
from mibench_datasets import Digits
from mibench_datasets.images import scaled, unscaled
from mibench_defenses import VP

torch.set_num_threads(1)

CPU = torch.device("cpu")
PIXELS = torch.randint(256, (300, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PIXELS.view(-1)[:256] = torch.arange(256, dtype=torch.uint8)


def drawn(pool: Pool, index: Tensor, seed: int = 0) -> Tensor:
    return pool.batch(index, pool.draw_augmentation(len(index), torch.Generator().manual_seed(seed)))


def test_pixels_take_a_byte_each_and_come_back_bit_for_bit() -> None:
    members = scaled(PIXELS)
    pool = Pool(members, CPU)
    assert pool.members.dtype == torch.uint8 and pool.members.nbytes == PIXELS.nbytes
    index = torch.randperm(300)
    batch = drawn(pool, index)
    assert torch.equal(batch.view(torch.int64), members.double()[index].view(torch.int64))
    assert torch.equal(unscaled(batch.float()), PIXELS[index])


@pytest.mark.parametrize("values", [256, 257])
def test_what_has_more_values_stays_as_it_is(values: int) -> None:
    """The 257th value stands in the last of many items; zeros of both signs, NaN and infinities are values, too."""
    levels = torch.cat([torch.tensor([0.0, -0.0, float("nan"), float("inf")]), torch.linspace(-1, 1, 252)])
    members = levels.repeat(600).view(-1, 4)
    if values == 257:
        members[-1, -1] = 7
    pool = Pool(members, CPU)
    assert pool.members.dtype == (torch.uint8 if values == 256 else torch.float64)
    index = torch.arange(len(members))
    assert torch.equal(drawn(pool, index).view(torch.int64), members.double().view(torch.int64))


def candidates(image: Tensor, flips: tuple[bool, ...], shift: int) -> list[Tensor]:
    """All that augmentation may make of an image, by torch's own padding."""
    found = []
    for flip in flips:
        padded = torch.nn.functional.pad(image.flip(-1) if flip else image, (shift,) * 4, mode="reflect")
        for down in range(2 * shift + 1):
            for right in range(2 * shift + 1):
                found.append(padded[:, down : down + image.shape[1], right : right + image.shape[2]])
    return found


@pytest.mark.parametrize(
    ("augment", "flips", "shift"),
    [(("flip",), (False, True), 0), (("crop",), (False,), SHIFT), (("flip", "crop"), (False, True), SHIFT)],
)
def test_augmented_images_are_flips_and_crops_of_their_own(
    augment: tuple[str, ...], flips: tuple[bool, ...], shift: int
) -> None:
    """2000 draws of one image among others: nothing but its flips and crops, and each of them about as often."""
    images = torch.rand(3, 2, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = drawn(Pool(images, CPU, augment), torch.ones(2000, dtype=torch.int64))
    possible = torch.stack(candidates(images[1], flips, shift))
    which = torch.cdist(batch.flatten(1), possible.flatten(1)).argmin(1)
    assert torch.equal(batch, possible[which])
    counts = torch.bincount(which, minlength=len(possible)).double()
    expected = 2000 / len(possible)
    assert ((counts - expected).square() / expected).sum() < len(possible) + 5 * (2 * len(possible)) ** 0.5


def test_no_augmentation_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert Pool(scaled(PIXELS), CPU).draw_augmentation(5, generator).shape == (0, 5)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 9)])
def test_what_is_no_image_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(MibenchError, match="augment is for images"):
        Pool(torch.zeros(5, *shape), CPU, ("crop",))


@pytest.mark.parametrize("change", [{"augment": "flip+crop"}, {"precision": "bf16"}])
def test_options_of_training_work_alone_and_together(change: dict[str, str]) -> None:
    """They change the weights, by little, and models that train together are those of one by one."""
    data = split(Digits(members=60, nonmembers=10, reference=10), 0)
    base = Recipe(steps=40, batch=16, width=32, depth=1)
    recipe = Recipe.model_validate(base.model_dump() | change)

    def blank(seed: int) -> object:
        return VP().build_model(data.shape, data.data_variance, recipe, seed=seed)

    plain, alone, both = blank(0), blank(0), [blank(0), blank(1)]
    losses = [train(VP(), model, data.members, r, 3)["loss"] for model, r in ((plain, base), (alone, recipe))]
    assert 0 < abs(losses[0] - losses[1]) < 0.1
    facts = train_stacked(VP(), both, [data.members] * 2, recipe, (3, 4))
    assert facts[0]["loss"] == pytest.approx(losses[1], abs=1e-2 if "precision" in change else 1e-4)
    assert all(p.dtype == torch.float32 for p in network_of(alone).parameters())


def test_recipes_of_before_have_the_dumps_of_before() -> None:
    assert {"augment", "precision"}.isdisjoint(Recipe().model_dump(mode="json"))
    one = Recipe(augment="crop+flip", precision="bf16")
    assert one.model_dump(mode="json")["augment"] == ["flip", "crop"] and one.augment == ("flip", "crop")
    assert Recipe.model_validate(one.model_dump(mode="json")) == one
