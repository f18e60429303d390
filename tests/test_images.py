"""Images of every kind and CIFAR-10 as published: what is read, what is refused, and a run from end to end."""

import builtins
import collections
import hashlib
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

import mibench_datasets.cifar10 as cifar
from mibench import MibenchError, UsageError
from mibench.data import split
from mibench.results.record import read_record
from mibench.results.store import Store
from mibench_datasets import Cifar10, Images
from mibench_datasets.cifar10 import batch_images
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


def folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


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


@pytest.mark.parametrize("pack", [folder, zipped])
def test_the_same_bytes_come_out(tmp_path, pack):
    files = {f"{k % 3}/{k:02}.png": saved(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for k in range(30)}
    pool = Images(path=str(pack(tmp_path / "images", files)), size=16, **ENOUGH).pool(torch.Generator())
    assert pool.shape == (30, 3, 16, 16) and pool.dtype == torch.float32
    for row, name in zip(unscaled(pool), sorted(files), strict=True):
        assert np.array_equal(row.permute(1, 2, 0).numpy(), np.asarray(Image.open(io.BytesIO(files[name]))))


def test_as_many_are_drawn_as_are_needed(tmp_path):
    dataset = Images(path=str(folder(tmp_path, pictures(60))), size=8, **ENOUGH)
    first, again = split(dataset, 0), split(dataset, 0)
    assert first.fingerprint == again.fingerprint != split(dataset, 1).fingerprint
    assert len(torch.cat([first.members, first.nonmembers, first.reference]).flatten(1).unique(dim=0)) == 30
    with pytest.raises(UsageError, match=r"members \+ nonmembers \+ reference = 70, but it holds 60"):
        split(Images(path=str(tmp_path), size=8, members=50, nonmembers=10, reference=10), 0)


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
@pytest.mark.parametrize("pack", [folder, zipped])
def test_what_is_no_image_is_named(tmp_path, pack, data, what):
    path = pack(tmp_path / "images", pictures(29) | {"cats/bad.png": data})
    with pytest.raises(MibenchError, match=f"images: cats/bad.png .*{what}") as error:
        split(Images(path=str(path), size=8, **ENOUGH), 0)
    assert "\n" not in str(error.value) and not isinstance(error.value, UsageError)


def test_what_is_not_named_as_an_image_does_not_count(tmp_path):
    bare = Images(path=str(zipped(tmp_path / "bare", pictures(30))), size=8, **ENOUGH)
    more = Images(path=str(folder(tmp_path / "more", pictures(30) | {"labels.csv": b"0,cat"})), size=8, **ENOUGH)
    assert bare.spec() == more.spec() and split(bare, 0).fingerprint == split(more, 0).fingerprint
    with pytest.raises(MibenchError, match=r"holds no images \(1 other files\)"):
        split(Images(path=str(folder(tmp_path / "none", {"labels.csv": b"x"}))), 0)


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

    dataset = Images(path=str(folder(tmp_path, pictures(30))), **ENOUGH)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MibenchError, match=r"pip install 'mibench\[images\]'"):
        dataset.pool(torch.Generator())


@pytest.mark.parametrize("pack", [folder, zipped])
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


# CIFAR-10


def batch(count, seed, text=b"data", protocol=2):
    """A batch as published: a dict with byte strings for keys, pickled."""
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return data, pickle.dumps({text: data, b"labels": [0] * count, b"batch_label": b"batch"}, protocol=protocol)


def old_batch(data):
    """The bytes that Python 2 writes: strings without an encoding, and NumPy under its old name."""

    def string(text):
        return b"T" + len(text).to_bytes(4, "little") + text

    def number(value):
        return b"J" + value.to_bytes(4, "little", signed=True)

    kind = (
        b"cnumpy\ndtype\n"
        + string(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + string(b"|")
        + b"NNN"
        + 2 * number(-1)
        + b"K\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
    array += b"(K\x01" + number(len(data)) + number(3072) + b"\x86" + kind + b"\x89" + string(data.tobytes()) + b"tb"
    return b"\x80\x02}" + string(b"data") + array + b"s."


def layout(path, count=20):
    """A small archive laid out as the published one, and all of its images."""
    made = {name: batch(count, k) for k, name in enumerate(cifar.BATCHES)}
    files = {f"cifar-10-batches-py/{name}": content for name, (_, content) in made.items()}
    files |= {"cifar-10-batches-py/readme.html": b"", "cifar-10-batches-py/batches.meta": b"never read"}
    return folder(path, files), np.concatenate([data for data, _ in made.values()]).reshape(-1, 3, 32, 32)


def tarred(path, root):
    with tarfile.open(path, "w:gz") as file:
        file.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    return path


def fake_sums(monkeypatch, root):
    for name in cifar.BATCHES:
        content = (root / "cifar-10-batches-py" / name).read_bytes()
        monkeypatch.setitem(cifar.BATCHES, name, hashlib.md5(content, usedforsecurity=False).hexdigest())


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("text", ["data", b"data"])
def test_batches_of_every_protocol(text, protocol):
    data, content = batch(7, 0, text, protocol)
    assert np.array_equal(batch_images(content), data.reshape(7, 3, 32, 32))


def test_batches_that_python_2_wrote():
    data, _ = batch(7, 0)
    content = old_batch(data)
    assert np.array_equal(pickle.loads(content, encoding="bytes")[b"data"], data)
    assert np.array_equal(batch_images(content), data.reshape(7, 3, 32, 32))


class Calls:
    """A pickle that calls a function as it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "touch hacked"), "system"),
        (Calls(eval, "open('hacked', 'w')"), "eval"),
        (Calls(np.load, "x.npy"), "load"),
        (Calls(getattr, "text", "upper"), "getattr"),
        (Calls(np.frombuffer, b"12"), "frombuffer"),
        (collections.OrderedDict(), "OrderedDict"),
        (torch.Generator, "Generator"),
    ],
    ids=["system", "eval", "numpy.load", "getattr", "frombuffer", "class", "torch"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_that_would_run_code_are_refused(tmp_path, monkeypatch, value, name, protocol):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({b"data": value}, protocol=protocol)
    with pytest.raises(ValueError, match=rf"asks for [\w.]*{name}, which no batch needs"):
        batch_images(content)
    assert not list(tmp_path.iterdir())


def test_arrays_are_never_made_by_the_pickle():
    """What a pickle makes of NumPy's names is a stand-in, and only plain bytes of the right size come out."""
    for wrong in (
        np.zeros((3, 3072), np.int16),
        np.zeros((3, 3071), np.uint8),
        np.zeros((3, 3, 1024), np.uint8),
        np.zeros((0, 3072), np.uint8),
        np.array([[None] * 3072]),
        np.zeros((3072, 3), np.uint8).T,
        [[0] * 3072],
        None,
    ):
        with pytest.raises(ValueError, match="holds no array 'data'"):
            batch_images(pickle.dumps({b"data": wrong}, protocol=3))
    lies = pickle.dumps({b"data": np.zeros((3, 3072), np.uint8)}, protocol=4).replace(
        b"K\x03M\x00\x0c", b"K\x04M\x00\x0c"
    )
    with pytest.raises(ValueError, match="holds no array 'data'"):
        batch_images(lies)
    for junk in (b"", b"junk", batch(3, 0)[1][:5000], pickle.dumps([1])):
        with pytest.raises(ValueError, match="no batch|no array"):
            batch_images(junk)


def test_the_layout_in_a_folder_and_packed(tmp_path, monkeypatch):
    root, pixels = layout(tmp_path / "data")
    paths = [root, root / "cifar-10-batches-py", tarred(tmp_path / "c.tar.gz", root)]
    specs = []
    for path in paths:
        dataset = Cifar10(path=str(path), checksum=False, **ENOUGH)
        assert torch.equal(unscaled(dataset.pool(torch.Generator())), torch.from_numpy(pixels))
        specs.append(dataset.spec())
    fake_sums(monkeypatch, root)
    checked = Cifar10(path=str(root), **ENOUGH)
    assert torch.equal(split(checked, 0).members, split(dataset, 0).members)
    assert specs[0] == specs[1] == specs[2] == checked.spec()
    (root / "cifar-10-batches-py" / "readme.html").write_bytes(b"else")
    assert Cifar10(path=str(root), **ENOUGH).spec() == specs[0]


def test_checksums_and_missing_batches(tmp_path, monkeypatch):
    root, _ = layout(tmp_path / "data")
    with pytest.raises(MibenchError, match=r"data_batch_1 is not as published.*checksum=false"):
        split(Cifar10(path=str(root)), 0)
    fake_sums(monkeypatch, root)
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(MibenchError, match="lacks data_batch_3"):
        split(Cifar10(path=str(root)), 0)
    assert len(Cifar10(path=str(root), checksum=False).pool(torch.Generator())) == 100
    (root / "data_batch_1").write_bytes(b"")
    with pytest.raises(MibenchError, match="holds data_batch_1 twice"):
        Cifar10(path=str(root), checksum=False).pool(torch.Generator())
    with pytest.raises(MibenchError, match="lacks data_batch_1, .*test_batch"):
        Cifar10(path=str(folder(tmp_path / "else", {"a.txt": b""})), checksum=False).pool(torch.Generator())
    with pytest.raises(UsageError, match="give path="):
        split(Cifar10(), 0)


def test_a_split_file_decides(tmp_path):
    root, pixels = layout(tmp_path / "data")
    order = np.random.default_rng(0).permutation(100)
    np.savez(tmp_path / "half.npz", mia_train_idxs=order[:40], mia_eval_idxs=order[40:90], ratio=0.5)
    dataset = Cifar10(path=str(root), checksum=False, split=str(tmp_path / "half.npz"), reference=25)
    data = split(dataset, 0)

    def same(part, indices):
        want = torch.from_numpy(pixels[indices]).flatten(1)
        return sorted(map(tuple, unscaled(part).flatten(1).tolist())) == sorted(map(tuple, want.tolist()))

    assert same(data.members, order[:40]) and same(data.nonmembers, order[40:90]) and len(data.reference) == 25
    others = {row.tobytes() for row in pixels[np.concatenate([order[90:], np.arange(100, 120)])]}
    assert {row.numpy().tobytes() for row in unscaled(data.reference)} <= others
    assert data.fingerprint == split(dataset, 0).fingerprint != split(dataset, 1).fingerprint
    options = dataset.spec()["options"]
    assert "members" not in options and len(options["split"]) == 64 and str(tmp_path) not in str(options)
    with pytest.raises(ValueError, match="those of the split file"):
        Cifar10(path=str(root), split="half.npz", members=20)
    with pytest.raises(UsageError, match="leaves 30 images, fewer than reference=1000"):
        split(Cifar10(path=str(root), checksum=False, split=str(tmp_path / "half.npz")), 0)


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"mia_train_idxs": np.arange(20)}, "holds no mia_eval_idxs"),
        ({"mia_train_idxs": np.arange(20), "mia_eval_idxs": np.arange(19, 40)}, "given twice"),
        ({"mia_train_idxs": np.arange(20), "mia_eval_idxs": np.arange(90, 101)}, "there are 100 training images"),
        ({"mia_train_idxs": np.arange(20), "mia_eval_idxs": -np.arange(1, 20)}, "indices from -19"),
        ({"mia_train_idxs": np.arange(20.0), "mia_eval_idxs": np.arange(20, 40)}, "whole numbers"),
        ({"mia_train_idxs": np.arange(3), "mia_eval_idxs": np.arange(20, 40)}, "at least 10"),
        ({"mia_train_idxs": np.array([None] * 20), "mia_eval_idxs": np.arange(20, 40)}, "read safely"),
    ],
    ids=["name", "twice", "large", "negative", "float", "few", "object"],
)
def test_wrong_split_files(tmp_path, arrays, what):
    root, _ = layout(tmp_path / "data")
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(MibenchError, match=f"s.npz.*{what}"):
        split(Cifar10(path=str(root), checksum=False, split=str(tmp_path / "s.npz"), reference=10), 0)


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04broken"])
def test_what_is_no_split_file(tmp_path, content):
    root, _ = layout(tmp_path / "data")
    if content is not None:
        (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(MibenchError, match=r"s\.npz"):
        split(Cifar10(path=str(root), checksum=False, split=str(tmp_path / "s.npz"), reference=10), 0)


def test_download_only_when_asked(tmp_path, monkeypatch):
    root, pixels = layout(tmp_path / "data")
    source = tarred(tmp_path / "source.tar.gz", root)
    fake_sums(monkeypatch, root)
    monkeypatch.setattr(cifar, "URL", source.as_uri())
    target = tmp_path / "new" / "c.tar.gz"
    with pytest.raises(MibenchError, match="there is no folder or archive"):
        split(Cifar10(path=str(target), **ENOUGH), 0)
    dataset = Cifar10(path=str(target), download=True, **ENOUGH)
    with pytest.raises(MibenchError, match="md5 differs"):
        split(dataset, 0)
    assert not list(target.parent.iterdir())
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest())
    assert torch.equal(unscaled(dataset.pool(torch.Generator())), torch.from_numpy(pixels))
    assert [file.name for file in target.parent.iterdir()] == ["c.tar.gz"]
    source.unlink()
    assert split(dataset, 0).shape == (3, 32, 32)
    target.unlink()
    with pytest.raises(MibenchError, match="cannot fetch .*fetch it by hand") as error:
        split(dataset, 0)
    assert "\n" not in str(error.value) and not list(target.parent.iterdir())


def test_a_grid_shows_the_pixels_of_samples(cli, tmp_path):
    """What is drawn of a model is what its store holds, each pixel a square of four."""
    path = folder(tmp_path / "images", pictures(60))
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
