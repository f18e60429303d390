"""Folders, zips and tars: what is in them is read, what would lead out of them is refused, and content is what counts."""

import os
import stat
import tarfile
import zipfile
from typing import ClassVar

import pytest
from packing import folder_of, tar_of, zip_of

from mibench import POINTS, MibenchError, UsageError, archives
from mibench.archives import open_archive
from mibench.file_datasets import FileDataset

FILES = {"b/2.txt": b"two", "a.txt": b"one", "b/c/3.txt": b"", "b/ü.txt": b"umlaut"}
CLUTTER = {"__MACOSX/a.txt": b"x", "b/.DS_Store": b"x", "Thumbs.db": b"x"}


class Files(FileDataset):
    """Any files."""

    name: ClassVar = "files"
    modality = POINTS


def every_kind(tmp_path, files):
    return [
        folder_of(tmp_path / "folder", files),
        zip_of(tmp_path / "z.zip", files),
        tar_of(tmp_path / "t.tar.gz", files),
    ]


def test_the_same_files_in_a_folder_a_zip_and_a_tar(tmp_path):
    for path in every_kind(tmp_path, FILES | CLUTTER):
        archive = open_archive(path)
        assert archive.names == tuple(sorted(FILES))
        assert dict(archive.files()) == FILES
        assert dict(archive.files(["a.txt", "b/ü.txt"])) == {"a.txt": b"one", "b/ü.txt": b"umlaut"}
        assert archive.read("b/2.txt") == b"two"
        with pytest.raises(MibenchError, match=r"holds no file 'c\.txt'"):
            archive.read("c.txt")


def test_content_counts_and_nothing_else(tmp_path):
    paths = every_kind(tmp_path, FILES)
    specs = [Files(path=str(path)).spec() for path in paths]
    assert specs[0] == specs[1] == specs[2]
    assert "path" not in specs[0]["options"] and len(specs[0]["options"]["content"]) == 64
    moved = paths[0].rename(tmp_path / "elsewhere")
    os.utime(moved / "a.txt", (1, 1))
    assert Files(path=str(moved)).spec() == specs[0]
    (moved / "a.txt").write_bytes(b"One")
    os.utime(moved / "a.txt", (2, 2))
    changed = Files(path=str(moved)).spec()
    (moved / "a.txt").write_bytes(b"one")
    (moved / "a.txt").rename(moved / "z.txt")
    renamed = Files(path=str(moved)).spec()
    assert len({str(spec) for spec in (specs[0], changed, renamed)}) == 3
    assert str(tmp_path) not in str(changed)


def test_content_is_read_once(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "z.zip", FILES)
    first = Files(path=str(path)).spec()
    monkeypatch.setattr(archives.Zip, "files", None)
    assert Files(path=str(path)).spec() == first


def test_without_a_path_there_is_a_spec_but_no_data():
    assert "content" not in Files().spec()["options"]
    with pytest.raises(UsageError, match="give path="):
        Files().archive()


@pytest.mark.parametrize("path", ["a,b", "a[1]", "x+y", "x+ y", " a", "a ", "a\nb", "p" * 181])
def test_paths_that_options_cannot_carry(path):
    with pytest.raises(ValueError, match=r"rename it, or give a link|at most 180"):
        Files(path=path)


@pytest.mark.parametrize("path", ["a b/c", "C:/x:y=z", "1+1", "ü/ß", "~/x"])
def test_paths_that_options_can_carry(path):
    from mibench.names import build
    from mibench_datasets import Images

    class Registry:
        components: ClassVar = {"dataset": {"images": Images}}

    dataset = Images(path=path, members=20, size=8)
    assert build(Registry, "dataset", dataset.label) == dataset


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt", "\\out"]
)
def test_entries_that_point_out(tmp_path, name):
    with pytest.raises(MibenchError, match=r"out.*points out of the archive"):
        open_archive(zip_of(tmp_path / "z.zip", {"a.txt": b"", name: b"x"}))
    with tarfile.open(tmp_path / "t.tar", "w") as file:
        file.addfile(tarfile.TarInfo(name))
    if not name.startswith(("..\\", "C:", "\\")):
        with pytest.raises(MibenchError, match=r"out.*points out of the archive"):
            open_archive(tmp_path / "t.tar")


def test_links_in_archives(tmp_path):
    entry = zipfile.ZipInfo("link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(MibenchError, match=r"link\.png is a link"):
        open_archive(tmp_path / "z.zip")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = kind, "/etc/passwd"
        with tarfile.open(tmp_path / "t.tar", "w") as file:
            file.addfile(member)
        with pytest.raises(MibenchError, match=r"link\.png is no regular file"):
            open_archive(tmp_path / "t.tar")


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("../secret.txt", "leads out of the folder"),
        ("..", "leads out of the folder"),
        ("nothing.txt", "leads nowhere"),
        ("link", "leads nowhere"),
        ("b", "is no regular file"),
        (".", "is no regular file"),
    ],
)
def test_links_in_folders(tmp_path, target, what):
    (tmp_path / "secret.txt").write_text("secret")
    path = folder_of(tmp_path / "folder", FILES)
    (path / "link").symlink_to(target)
    with pytest.raises(MibenchError, match=f"folder: link .*{what}"):
        open_archive(path)


def test_links_that_stay_inside_and_links_to_the_folder(tmp_path):
    path = folder_of(tmp_path / "folder", FILES)
    (path / "link.txt").symlink_to("b/2.txt")
    (tmp_path / "short").symlink_to(path)
    assert dict(open_archive(tmp_path / "short").files()) == FILES | {"link.txt": b"two"}


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MibenchError, match="pipe is no regular file"):
        open_archive(tmp_path)


def test_encrypted_zip(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a.txt": b"x"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(MibenchError, match=r"a\.txt cannot be read: .*encrypted"):
        open_archive(path).read("a.txt")


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FILE_LIMIT", 2**20)
    for path in every_kind(tmp_path / "one", {"a.txt": b"", "big.txt": bytes(2**20 + 1)}):
        with pytest.raises(MibenchError, match=r"big\.txt is larger than 1 MiB"):
            open_archive(path)


def test_a_bomb_that_lies_about_its_size(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"big.txt": bytes(2**20)})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(MibenchError, match=r"big\.txt cannot be read"):
        open_archive(path).read("big.txt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", [1, 2])
def test_half_downloaded_archives(tmp_path, kind, share):
    path = every_kind(tmp_path, {f"{k}.txt": os.urandom(3000) for k in range(9)})[kind]
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(MibenchError, match=r"incomplete|cannot be read") as error:
        open_archive(path)
    assert path.name in str(error.value) and "\n" not in str(error.value)


def test_damaged_content_is_named(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a.txt": b"first", "b.txt": os.urandom(5000)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"b.txt") + 2000] ^= 255
    path.write_bytes(raw)
    archive = open_archive(path)
    assert archive.read("a.txt") == b"first"
    with pytest.raises(MibenchError, match=r"z\.zip: b\.txt cannot be read"):
        archive.read("b.txt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.writestr("a.txt", "1")
        file.writestr("a.txt", "2")
    with pytest.raises(MibenchError, match=r"a\.txt is in it twice"):
        open_archive(tmp_path / "z.zip")


def test_what_is_no_archive(tmp_path):
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "empty.zip").touch()
    for name in ("text.zip", "empty.zip"):
        with pytest.raises(MibenchError, match=f"{name} is no folder, no zip and no tar"):
            open_archive(tmp_path / name)
    with pytest.raises(MibenchError, match="there is no folder or archive .*nowhere"):
        open_archive(tmp_path / "nowhere")
    with pytest.raises(MibenchError, match="cannot be read|there is no"):
        open_archive(tmp_path / "text.zip" / "below")
