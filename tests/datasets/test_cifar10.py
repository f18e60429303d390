"""CIFAR-10 as published: read after its checksums, split by a file, downloaded when asked."""

import functools
import hashlib
import http.server
import os
import pickle
import tarfile
import threading

import numpy as np
import pytest
import torch

from mibench import MibenchError, UsageError
from mibench.data import split
from mibench_datasets import Cifar10, Cifar10ByClass
from mibench_datasets.images import unscaled

ENOUGH = {"members": 10, "nonmembers": 10, "reference": 10}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small folder laid out as the published one, whose md5 torchvision takes for the published, and all of its images."""
    CIFAR10 = pytest.importorskip("torchvision.datasets").CIFAR10
    batches = tmp_path / "data" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    sums, parts = {}, []
    for k, (name, _) in enumerate(CIFAR10.train_list + CIFAR10.test_list):
        parts.append(np.random.default_rng(k).integers(0, 256, (20, 3072), dtype=np.uint8))
        (batches / name).write_bytes(
            pickle.dumps({"data": parts[-1], "labels": [(3 * k + row) % 10 for row in range(20)]})
        )
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat"]}))
    (batches / "readme.html").write_bytes(b"")
    for file in batches.iterdir():
        sums[file.name] = md5(file)
    for every in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, every, [[name, sums[name]] for name, _ in getattr(CIFAR10, every)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    return tmp_path / "data", np.concatenate(parts).reshape(-1, 3, 32, 32)


def md5(file):
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def test_the_published_layout(published):
    root, pixels = published
    dataset = Cifar10(path=str(root), **ENOUGH)
    assert torch.equal(unscaled(dataset.pool(torch.Generator())), torch.from_numpy(pixels))
    spec = dataset.spec()
    (root / "cifar-10-batches-py" / "readme.html").write_bytes(b"else")
    assert Cifar10(path=str(root), **ENOUGH).spec() == spec and str(root) not in str(spec)
    assert set(spec["options"]) == {"members", "nonmembers", "reference", "split", "content"}


@pytest.mark.parametrize("fixed", [False, True])
def test_classes_are_those_of_the_images(published, tmp_path, fixed):
    root, pixels = published
    np.savez(tmp_path / "half.npz", mia_train_idxs=np.arange(5, 40), mia_eval_idxs=np.arange(40, 90))
    given = {"split": str(tmp_path / "half.npz"), "reference": 25} if fixed else ENOUGH
    data = split(Cifar10ByClass(path=str(root), **given), 1)
    known = {row.tobytes(): (3 * (k // 20) + k % 20) % 10 for k, row in enumerate(pixels)}
    for part in (data.members, data.nonmembers, data.reference):
        told = data.condition_of(part)
        assert told.argmax(1).tolist() == [known[row.numpy().tobytes()] for row in unscaled(part)]
    assert told.shape[1] == 10 and torch.equal(data.members, split(Cifar10(path=str(root), **given), 1).members)


class Calls:
    """A pickle that calls a function as it is read."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_batches_that_are_not_as_published_are_never_unpickled(published, tmp_path, monkeypatch):
    root, _ = published
    monkeypatch.chdir(tmp_path)
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps({"data": Calls()}))
    with pytest.raises(MibenchError, match=r"cifar-10-batches-py is not as published .*download=true") as error:
        split(Cifar10(path=str(root)), 0)
    assert "\n" not in str(error.value) and not (tmp_path / "hacked").exists()
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(MibenchError, match="a file is missing"):
        split(Cifar10(path=str(root)), 0)
    with pytest.raises(MibenchError, match="there is no folder .*cifar-10-batches-py; unpack"):
        split(Cifar10(path=str(tmp_path)), 0)
    with pytest.raises(UsageError, match="give path="):
        split(Cifar10(), 0)


def test_a_split_file_decides(published, tmp_path):
    root, pixels = published
    order = np.random.default_rng(0).permutation(100)
    np.savez(tmp_path / "half.npz", mia_train_idxs=order[:40], mia_eval_idxs=order[40:90], ratio=0.5)
    dataset = Cifar10(path=str(root), split=str(tmp_path / "half.npz"), reference=25)
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
        split(Cifar10(path=str(root), split=str(tmp_path / "half.npz")), 0)


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
def test_wrong_split_files(published, tmp_path, arrays, what):
    root, _ = published
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(MibenchError, match=f"s.npz.*{what}"):
        split(Cifar10(path=str(root), split=str(tmp_path / "s.npz"), reference=10), 0)


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04broken"])
def test_what_is_no_split_file(published, tmp_path, content):
    root, _ = published
    if content is not None:
        (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(MibenchError, match=r"s\.npz"):
        split(Cifar10(path=str(root), split=str(tmp_path / "s.npz"), reference=10), 0)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """The address of a folder that is served on this machine, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_download_only_when_asked(published, served, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    root, pixels = published
    source, target = served[1] / "source.tar.gz", tmp_path / "new"
    with tarfile.open(source, "w:gz") as file:
        file.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "url", f"{served[0]}/source.tar.gz")
    with pytest.raises(MibenchError, match="there is no folder"):
        split(Cifar10(path=str(target), **ENOUGH), 0)
    assert not target.exists()
    dataset = Cifar10(path=str(target), download=True, **ENOUGH)
    with pytest.raises(MibenchError, match="md5 differs"):
        split(dataset, 0)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(source))
    assert torch.equal(unscaled(dataset.pool(torch.Generator())), torch.from_numpy(pixels))
    source.unlink()
    assert split(dataset, 0).shape == (3, 32, 32)
    with pytest.raises(MibenchError, match="cannot download .*source.tar.gz") as error:
        split(Cifar10(path=str(tmp_path / "other"), download=True, **ENOUGH), 0)
    assert "\n" not in str(error.value)
