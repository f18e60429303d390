"""Images of every kind and CIFAR-10 as published: what is read, what is refused, and a run from end to end."""

import builtins
import io

import numpy as np
import pytest
import torch
from packing import folder_of, zip_of

from mibench import MibenchError, UsageError
from mibench.data import split
from mibench.results.record import read_record
from mibench.results.store import Store
from mibench_datasets import Images, ImagesByFolder
from mibench_datasets.images import decoded, scaled, unscaled

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (16, 16), dtype=np.uint8)
ENOUGH = {"members": 10, "nonmembers": 10, "reference": 10}


def saved(image, form="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pictures(count, size=16):
    rng = np.random.default_rng(1)
    return {
        f"{'cats' if k % 2 else 'dogs'}/{k:04}.png": saved(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        for k in range(count)
    }


def test_scaling_is_lossless():
    every = torch.arange(256).to(torch.uint8)
    assert scaled(every).dtype == torch.float32
    assert (scaled(every).min(), scaled(every).max()) == (-1, 1)
    assert torch.equal(unscaled(scaled(every)), every)
    assert torch.equal(unscaled(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))


@pytest.mark.parametrize("pack", [folder_of, zip_of])
def test_the_same_bytes_come_out(tmp_path, pack):
    files = {f"{k % 3}/{k:02}.png": saved(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for k in range(30)}
    pool = Images(path=str(pack(tmp_path / "images", files)), size=16, **ENOUGH).pool(torch.Generator())
    assert pool.shape == (30, 3, 16, 16) and pool.dtype == torch.float32
    for row, name in zip(unscaled(pool), sorted(files), strict=True):
        assert np.array_equal(row.permute(1, 2, 0).numpy(), np.asarray(Image.open(io.BytesIO(files[name]))))


def test_as_many_are_drawn_as_are_needed(tmp_path):
    dataset = Images(path=str(folder_of(tmp_path, pictures(60))), size=8, **ENOUGH)
    first, again = split(dataset, 0), split(dataset, 0)
    assert first.fingerprint == again.fingerprint != split(dataset, 1).fingerprint
    assert len(torch.cat([first.members, first.nonmembers, first.reference]).flatten(1).unique(dim=0)) == 30
    with pytest.raises(UsageError, match=r"members \+ nonmembers \+ reference = 70, but it holds 60"):
        split(Images(path=str(tmp_path), size=8, members=50, nonmembers=10, reference=10), 0)


def test_folders_are_classes(tmp_path):
    dataset = ImagesByFolder(path=str(folder_of(tmp_path, pictures(40))), size=16, **ENOUGH)
    data = split(dataset, 0)
    known = {decoded(image, 16, 3).tobytes(): name.startswith("dogs") for name, image in pictures(40).items()}
    told = data.condition_of(data.nonmembers)
    assert told.argmax(1).tolist() == [known[row.numpy().tobytes()] for row in unscaled(data.nonmembers)]
    assert told.shape == (10, 2) and 0 < told[:, 0].sum() < 10
    with pytest.raises(MibenchError, match="all images lie in one folder"):
        ImagesByFolder(path=str(tmp_path / "cats"), size=16, **ENOUGH).classes(torch.Generator())


RGBA = np.dstack([COLOUR, np.where(np.arange(256).reshape(16, 16) % 2, 255, 0).astype(np.uint8)])
ON_WHITE = np.where(RGBA[..., 3:] == 255, COLOUR, 255)
BILEVEL = (GREY > 127).astype(np.uint8) * 255
THREE = np.dstack([GREY] * 3)


def palette():
    return Image.fromarray(COLOUR).quantize(16)


def see_through():
    image = Image.fromarray(GREY % 4).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0])
    return image


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (saved(COLOUR), COLOUR),
        (saved(COLOUR, "BMP"), COLOUR),
        (saved(COLOUR, "TIFF"), COLOUR),
        (saved(COLOUR, "PPM"), COLOUR),
        (saved(GREY), THREE),
        (saved(palette()), np.asarray(palette().convert("RGB"))),
        (saved(palette(), "GIF"), np.asarray(palette().convert("RGB"))),
        (saved(RGBA), ON_WHITE),
        (saved(np.dstack([COLOUR, np.full_like(GREY, 255)])), COLOUR),
        (saved(Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (16, 16), 255)])), THREE),
        (saved(Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (16, 16), 0)])), np.full_like(THREE, 255)),
        (saved(Image.fromarray(GREY > 127)), np.dstack([BILEVEL] * 3)),
        (saved(GREY.astype(np.uint16) * 257), THREE),
        (saved(GREY.astype(np.uint16) * 257, "TIFF"), THREE),
        (saved(GREY.astype(np.int32) * 257, "TIFF"), THREE),
        (saved(GREY.astype(np.uint16) * 257 + 128), THREE),
        (saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF"), np.full_like(COLOUR, (255, 0, 0))),
        (
            saved(see_through(), transparency=1),
            np.array([[10, 20, 30], [255, 255, 255], [70, 80, 90], [0, 0, 0]])[GREY % 4],
        ),
    ],
    ids=[
        "rgb",
        "bmp",
        "tiff",
        "ppm",
        "l",
        "p",
        "gif",
        "rgba",
        "opaque",
        "la-opaque",
        "la-clear",
        "1",
        "i16",
        "i16-tiff",
        "i32",
        "i16-rounded",
        "cmyk",
        "p-clear",
    ],
)
def test_every_mode_keeps_its_values(data, want):
    assert np.array_equal(decoded(data, 16, 3), np.asarray(want).transpose(2, 0, 1))


def test_grey_levels_from_colour():
    assert np.array_equal(decoded(saved(GREY), 16, 1)[0], GREY)
    assert np.array_equal(decoded(saved(COLOUR), 16, 1)[0], np.asarray(Image.fromarray(COLOUR).convert("L")))


def test_cmyk_jpeg_of_one_colour():
    got = decoded(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), 16, 3)
    assert np.abs(got.astype(int) - np.array([255, 0, 0])[:, None, None]).max() <= 4


def test_orientation_is_followed():
    image = Image.new("RGB", (16, 16))
    image.paste("white", (0, 0, 16, 8))  # white above, black below
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter: white right
    got = decoded(saved(image, exif=exif), 16, 1)[0]
    assert got[:, 8:].min() == 255 and got[:, :8].max() == 0


def test_the_shorter_side_is_fitted_and_the_middle_cut_out():
    wide = np.zeros((16, 64, 3), np.uint8)
    wide[:, 24:40] = COLOUR
    assert np.array_equal(decoded(saved(wide), 16, 3), COLOUR.transpose(2, 0, 1))
    assert np.array_equal(decoded(saved(wide.transpose(1, 0, 2)), 16, 3), COLOUR.transpose(2, 1, 0))
    assert decoded(saved(np.full((40, 90, 3), 77, np.uint8)), 16, 3).min() == 77
    assert decoded(saved(np.full((1, 500), 77, np.uint8)), 16, 3).shape == (3, 16, 16)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_counts(form):
    frames = [Image.new("L", (16, 16), value) for value in (10, 200, 90)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:])
    assert set(np.unique(decoded(data, 16, 1))) == {10}


GOOD = saved(COLOUR)
NOISE = saved(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no image of a known format"),
        (b"hello", "no image of a known format"),
        (POSTSCRIPT, "no image of a known format"),
        (NOISE[: len(NOISE) // 2], "no readable image"),
        (GOOD[: len(GOOD) // 2], "no readable image"),
        (GOOD[:60] + bytes(40) + GOOD[100:], "no readable image"),
        (saved(np.ones((16, 16), np.float32), "TIFF"), "no known range"),
        (saved(np.full((16, 16), 70000, np.int32), "TIFF"), "no known range"),
    ],
    ids=["empty", "text", "postscript", "half-jpeg", "half-png", "hole-png", "float", "32-bit"],
)
@pytest.mark.parametrize("pack", [folder_of, zip_of])
def test_what_is_no_image_is_named(tmp_path, pack, data, what):
    path = pack(tmp_path / "images", pictures(29) | {"cats/bad.png": data})
    with pytest.raises(MibenchError, match=f"images: cats/bad.png .*{what}") as error:
        split(Images(path=str(path), size=8, **ENOUGH), 0)
    assert "\n" not in str(error.value) and not isinstance(error.value, UsageError)


def test_what_is_not_named_as_an_image_does_not_count(tmp_path):
    bare = Images(path=str(zip_of(tmp_path / "bare", pictures(30))), size=8, **ENOUGH)
    more = Images(path=str(folder_of(tmp_path / "more", pictures(30) | {"labels.csv": b"0,cat"})), size=8, **ENOUGH)
    assert bare.spec() == more.spec() and split(bare, 0).fingerprint == split(more, 0).fingerprint
    with pytest.raises(MibenchError, match=r"holds no images \(1 other files\)"):
        split(Images(path=str(folder_of(tmp_path / "none", {"labels.csv": b"x"}))), 0)


def test_an_image_of_too_many_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="more than 100 pixels"):
        decoded(GOOD, 8, 3)


def test_empty_folders_and_wrong_options(tmp_path):
    with pytest.raises(MibenchError, match="holds no images"):
        split(Images(path=str(tmp_path)), 0)
    with pytest.raises(UsageError, match="give path="):
        split(Images(), 0)
    for wrong in ({"channels": 2}, {"size": 4}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Images(**wrong)


def test_without_pillow_there_is_a_remedy(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "PIL":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    dataset = Images(path=str(folder_of(tmp_path, pictures(30))), **ENOUGH)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MibenchError, match=r"pip install 'mibench\[images\]'"):
        dataset.pool(torch.Generator())


@pytest.mark.parametrize("pack", [folder_of, zip_of])
def test_run_from_end_to_end(cli, tmp_path, pack):
    path = pack(tmp_path / "my images", pictures(160))
    words = f"run --defense hold3 --attack secmi:steps=3 --samples 100 --store {tmp_path / 's'}"
    words += " --recipe network=mlp,steps=20,width=16"
    dataset = f"images:path='{path}',size=8,members=20,nonmembers=20,reference=120"
    code, out, err = cli(*words.split(), "--dataset", dataset)
    assert code == 0, out + err
    found = [read_record(file) for file in (tmp_path / "s" / "records").rglob("*.json")]
    record = next(record for record in found if record.attack)
    options = record.cell.dataset.options
    assert "path" not in options and len(options["content"]) == 64
    assert record.labels["dataset"] == f"images:members=20,nonmembers=20,reference=120,path={path},size=8"


@pytest.mark.parametrize("broken", ["text", "missing"])
def test_a_broken_archive_is_one_line_and_exit_code_1(cli, tmp_path, broken):
    if broken == "text":
        (tmp_path / "images.zip").write_text("half")
    dataset = f"images:path={tmp_path / 'images.zip'}"
    code, _, err = cli("run", "--defense", "vp", "--attack", "pia", "--dataset", dataset)
    assert code == 1 and "images.zip" in err and len(err.strip().splitlines()) == 1


def test_a_grid_shows_the_pixels_of_samples(cli, tmp_path):
    """What is drawn of a model is what its store holds, each pixel a square of four."""
    path = folder_of(tmp_path / "images", pictures(60))
    code, _, err = cli(
        "run", "--defense", "vp", "--attack", "loss", "--model", "exact", "--samples", "100", "--device", "cpu",
        "--dataset", f"images:path={path},size=16,members=20,nonmembers=20,reference=20",
    )  # fmt: skip
    assert code == 0, err
    assert cli("samples", "--each", "--out", tmp_path / "drawn")[0] == 0
    (drawn,) = (tmp_path / "drawn").rglob("vp/samples-exact-s0.png")
    grid = np.asarray(Image.open(drawn).convert("RGB"))
    assert grid.shape == (8 * 66, 8 * 66, 3)
    (key,) = (file.name for file in (tmp_path / "store" / "samples").iterdir())
    samples = unscaled(Store(tmp_path / "store").load("samples", key)[0]["samples"]).movedim(1, 3).numpy()
    assert np.array_equal(grid[1:65:4, 67:131:4], samples[1]) and np.array_equal(grid[4:65:4, 70:131:4], samples[1])
    assert (grid[:, 65:67] == 255).all()
    assert cli("samples", "--out", tmp_path / "drawn")[0] == 0 and len([*(tmp_path / "drawn").glob("*.png")]) == 1
