"""Inception features with a network that was never trained: the same as pytorch-fid's, and what is refused."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mibench.errors import MibenchError
from mibench.metrics.headings import FID_SPACE, REHEARSAL_SPACE, heading, kernel_heading
from mibench.metrics.inception import SHA256, Inception, weights_file

torch.set_num_threads(1)

NAME = "weights.pth"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("MIBENCH_INCEPTION", raising=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "served" / NAME
    file.parent.mkdir()
    file.write_bytes(b"weights" * 1000)
    return file


def refused(call, *words: str) -> None:
    """The call raises a MibenchError of one line with these words."""
    with pytest.raises(MibenchError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_headings() -> None:
    assert heading(FID_SPACE) == "FID"
    assert {heading(name) for name in ("random-conv-64", "inception-2048-deadbeef", "")} == {"FD"}
    assert kernel_heading(FID_SPACE) == "KID" and kernel_heading("inception-2048-deadbeef") == "KD"


def test_a_given_file_comes_first(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, url = sha256(source), "file:///nowhere/" + NAME
    assert weights_file(source, url=url, sha256=digest) == source
    monkeypatch.setenv("MIBENCH_INCEPTION", str(source))
    assert weights_file(url=url, sha256=digest) == source
    other = tmp_path / "other.pth"
    refused(lambda: weights_file(other, url=url, sha256=digest), str(other), "No such file", url)
    refused(lambda: weights_file(tmp_path, url=url, sha256=digest), "cannot be read")


def test_another_digest_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    refused(lambda: weights_file(source, url="file:///x/" + NAME), str(source), sha256(source)[:12], SHA256[:12])
    cached = tmp_path / "hub" / "checkpoints" / NAME
    cached.parent.mkdir(parents=True)
    cached.write_bytes(source.read_bytes()[:-1])
    refused(lambda: weights_file(url=source.as_uri(), sha256=sha256(source)), str(cached), sha256(cached)[:12])


def test_nothing_is_downloaded_unless_asked_for(source: Path, tmp_path: Path) -> None:
    refused(lambda: weights_file(url=source.as_uri(), sha256=sha256(source)), "no Inception weights", "'download'")
    assert not (tmp_path / "hub").exists()


def test_the_download(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, checkpoints = sha256(source), tmp_path / "hub" / "checkpoints"
    monkeypatch.setenv("MIBENCH_INCEPTION", "download")
    refused(lambda: weights_file(url=source.as_uri(), sha256=SHA256), source.as_uri(), SHA256[:12])
    assert not list(checkpoints.iterdir())
    found = weights_file(url=source.as_uri(), sha256=digest)
    assert found == checkpoints / NAME and [*checkpoints.iterdir()] == [found]
    assert found.read_bytes() == source.read_bytes()
    source.unlink()
    assert weights_file(url=source.as_uri(), sha256=digest) == found
    found.unlink()
    refused(
        lambda: weights_file(url=source.as_uri(), sha256=digest),
        "did not come",
        str(found),
        "name it in MIBENCH_INCEPTION",
    )
    assert not list(checkpoints.iterdir())


@pytest.mark.parametrize("module", ["pytorch_fid", "torchvision"])
def test_a_missing_library(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pytorch_fid", module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    refused(Inception, "pip install 'mibench[fid]'")


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip(
        "pytorch_fid.inception", reason="pytorch-fid or torchvision is missing", exc_type=ImportError
    )


@pytest.fixture(scope="module")
def untrained(library, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of random weights that keep the scale from layer to layer, and its digest."""
    import torchvision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models.Inception3, "load_state_dict", lambda net, state: None)
        patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
        net, g = library.fid_inception_v3(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1:
                p.normal_(0, (2 / p[0].numel()) ** 0.5, generator=g)
    file = tmp_path_factory.mktemp("inception") / NAME
    torch.save(net.state_dict(), file)
    return file, sha256(file)


@pytest.fixture(scope="module")
def space(untrained: tuple[Path, str]) -> Inception:
    return Inception(untrained[0], sha256=untrained[1], batch=3)


def images(n: int, c: int, h: int, w: int) -> Tensor:
    coarse = torch.rand(n, c, 5, 6, generator=torch.Generator().manual_seed(h)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(h, w), mode="bilinear")


def test_the_features_are_pytorch_fids(library, space: Inception, untrained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *a, **k: torch.load(untrained[0]))
    theirs = library.InceptionV3().eval()
    for x in (images(4, 3, 32, 32), images(1, 3, 40, 57)):
        found = space(x)
        assert found.shape == (len(x), 2048) and found.dtype == torch.float64 and found.device.type == "cpu"
        with torch.no_grad():
            expected = theirs((x + 1) / 2)[0][:, :, 0, 0].double()
        assert (found - expected).norm() < 1e-4 * expected.norm()
        assert len(x) == 1 or expected.std(0).norm() > 1e-2 * expected.norm()


def test_a_rehearsal_has_random_weights_and_a_name_of_its_own(
    library, untrained: tuple[Path, str], space: Inception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIBENCH_INCEPTION", "rehearsal")
    rehearsed, x = Inception(), images(3, 3, 32, 32)
    assert rehearsed.name == REHEARSAL_SPACE and heading(rehearsed.name) == "FD"
    assert torch.equal(rehearsed(x), space(x))  # the weights of the file are drawn in the same way
    assert Inception(untrained[0], sha256=untrained[1]).name == space.name


def test_batches_channels_and_range(space: Inception, untrained: tuple[Path, str]) -> None:
    grey = images(2, 1, 32, 32)
    found = space(grey)
    assert torch.equal(found, space(grey.double().repeat(1, 3, 1, 1).requires_grad_()))
    assert (torch.cat([space(c) for c in grey.split(1)]) - found).norm() < 1e-4 * found.norm()
    assert torch.equal(space(torch.where(grey > 0.5, 7.0, grey)), space(torch.where(grey > 0.5, 1.0, grey)))
    assert space(grey[:0]).shape == (0, 2048)
    assert not torch.isfinite(space(grey[:1] * torch.nan)).any()
    assert space.name == f"inception-2048-{untrained[1][:8]}" and space.version == 1


def test_the_callers_precision_is_left_alone(space: Inception) -> None:
    conv = torch.backends.cudnn.conv
    before, x = conv.fp32_precision, images(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = space(x)
    assert torch.equal(found, space(x)) and conv.fp32_precision == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(space: Inception, untrained: tuple[Path, str]) -> None:
    x = images(5, 3, 32, 32)
    found, expected = Inception(untrained[0], sha256=untrained[1], device="cuda")(x), space(x)
    assert found.device.type == "cpu" and (found - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("shape", [(4, 32), (1, 2, 32, 32), (1, 4, 32, 32), (1, 3, 31, 32), (1, 1, 8, 8)])
def test_other_shapes_are_refused(space: Inception, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have shape"):
        space(torch.zeros(shape))


def test_integers_and_empty_batches_are_refused(space: Inception, untrained: tuple[Path, str]) -> None:
    with pytest.raises(ValueError, match=r"floating point in \[-1, 1\], not torch.uint8"):
        space(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="batch must be at least 1"):
        Inception(untrained[0], sha256=untrained[1], batch=0)


def test_files_that_hold_other_things(untrained: tuple[Path, str], tmp_path: Path, monkeypatch) -> None:
    refused(lambda: Inception(untrained[0]), str(untrained[0]), untrained[1][:12])
    monkeypatch.setenv("MIBENCH_INCEPTION", str(untrained[0]))
    refused(Inception, str(untrained[0]), untrained[1][:12])
    for i, content in enumerate((b"", b"not weights", None, [1])):
        file = tmp_path / f"{i}.pth"
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(
            content or {"fc.bias": torch.zeros(3)}, file
        )
        refused(lambda file=file: Inception(file, sha256=sha256(file)), str(file), "holds no Inception weights")
