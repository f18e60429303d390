"""The store under attack: damage, other formats, clocks, full disks, read-only folders and rivals, with real processes."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mibench.cli import main
from mibench.errors import MibenchError, UsageError
from mibench.results.store import Store

KEY = "a" * 64
TENSORS = {"x": torch.arange(1000.0)}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def apart(work, *args):
    """Run a function in a process of its own; what it puts in the queue, and its exit code."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue, *args))
    process.start()
    return process, queue


def said(work, *args):
    """What a function says in a process of its own."""
    process, queue = apart(work, *args)
    process.join(60)
    assert not queue.empty(), "it said nothing"
    return queue.get()


def names(store):
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "no facts", "other facts", "no json", "deep json", "a folder"]
)
def test_what_is_damaged_is_named_set_aside_and_made_anew(store, damage):
    digest = store.save("models", KEY, TENSORS, {"steps": 3})["digest"]
    folder = store.folder("models", KEY)
    tensors, facts = folder / "tensors.safetensors", folder / "meta.json"
    if damage == "truncated":
        os.truncate(tensors, 100)
    elif damage == "flipped":
        raw = bytearray(tensors.read_bytes())
        raw[-1] ^= 1
        tensors.write_bytes(raw)
    elif damage == "no facts":
        facts.unlink()
    elif damage == "other facts":
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"steps": 4}))
    elif damage == "a folder":
        tensors.unlink()
        tensors.mkdir()
    else:
        facts.write_text("[" * 100_000 if damage == "deep json" else "[1]")
    with pytest.raises(MibenchError, match=r"was corrupt \(.*\) and is set aside as a*\.corrupt; run again"):
        store.load("models", KEY)
    assert not store.has("models", KEY) and not store.keys("models", "")
    with pytest.raises(MibenchError, match="is gone from the store; run again"):
        store.load("models", KEY)
    assert store.save("models", KEY, TENSORS, {"steps": 3})["digest"] == digest
    assert torch.equal(store.load("models", KEY)[0]["x"], TENSORS["x"])


def test_what_cannot_be_read_is_not_set_aside(store, monkeypatch):
    store.save("models", KEY, TENSORS, {})

    def fails(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(type(store.root), "read_bytes", fails)
        with pytest.raises(MibenchError, match="cannot read .*Input/output error"):
            store.load("models", KEY)
    assert store.load("models", KEY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n", "is of format '2', and this mibench reads format 1; upgrade mibench"),
        ("0", "is of format '0'"),
        ("\xff\x00", "is of format"),
        ("", "is of format ''"),
        ("9" * 5000, "is of format '9999"),
    ],
)
def test_a_store_of_another_format_is_refused_and_left_alone(store, capsys, text, message):
    path = store.root / "format"
    assert path.read_text() == "1\n"
    path.write_text(text, encoding="latin-1")
    assert main(["cache", "--store", str(store.root)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert path.read_text(encoding="latin-1") == text


def test_a_store_from_before_formats_had_numbers_is_taken_over(store):
    store.save("models", KEY, TENSORS, {})
    (store.root / "format").unlink()
    assert Store(store.root).load("models", KEY) and (store.root / "format").read_text() == "1\n"


@pytest.mark.parametrize("year", [1971, 2100])
def test_times_of_files_mean_nothing(store, year):
    store.save("models", KEY, TENSORS, {})
    for path in store.root.rglob("*"):
        os.utime(path, ((year - 1970) * 31_557_600,) * 2)
    assert Store(store.root).load("models", KEY)


def _save_under_a_limit(queue, root):
    store = Store(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        store.save("models", KEY, TENSORS, {})
        queue.put("saved")
    except MibenchError as error:
        queue.put(str(error))


def test_a_full_disk_leaves_nothing_half_made(store):
    before = names(store)
    assert "cannot write to the store" in (message := said(_save_under_a_limit, store.root)) and "free space" in message
    assert names(store) == before
    store.save("models", KEY, TENSORS, {})
    assert store.load("models", KEY)


def _open_as_nobody(queue, root):
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        Store(root)
        queue.put("opened")
    except UsageError as error:
        queue.put(str(error))


def test_a_read_only_folder_is_wrong_usage(tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    assert "cannot be written: Permission denied; choose another with --store" in said(
        _open_as_nobody, folder / "store"
    )


def test_what_only_reads_needs_no_right_to_write(tmp_path):
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o555)
    assert said(_read_as_nobody, sealed) == "read nothing"


def _read_as_nobody(queue, folder):
    os.chdir(folder)
    if os.getuid() == 0:
        os.setuid(65534)
    store = Store(Path("store"), write=False)
    queue.put("read nothing" if not store.keys("models", "") and not store.root.exists() else "something is there")


def _write(queue, root, value):
    store = Store(root)
    queue.put([store.save("scores", f"{k:064d}", {"x": torch.full((1000,), value)}, {})["digest"] for k in range(50)])


def test_two_writers_of_one_artifact_keep_one(store):
    rivals = [apart(_write, store.root, value) for value in (1.0, 2.0)]
    told = [queue.get() for _, queue in rivals]
    for process, _ in rivals:
        process.join()
    assert told[0] == told[1]
    assert told[0] == [store.load("scores", f"{k:064d}")[1]["digest"] for k in range(50)]
    assert not [name for name in names(store) if ".making-" in name]


def test_a_writer_makes_room_where_the_other_left_damage(store):
    store.folder("scores", KEY).mkdir()
    (store.folder("scores", KEY) / "meta.json").write_text("{}")
    digest = store.save("scores", KEY, TENSORS, {})["digest"]
    assert store.load("scores", KEY)[1]["digest"] == digest and store.folder("scores", f"{KEY}.corrupt").is_dir()


def _write_for_ever(queue, root):
    store, k = Store(root), 0
    queue.put("begun")
    while True:
        store.save("scores", f"{k:064d}", {"x": torch.full((30_000,), float(k))}, {})
        k += 1


def test_a_writer_killed_at_any_moment_leaves_whole_artifacts(tmp_path):
    found = 0
    for k in range(8):
        store = Store(tmp_path / str(k))
        process, queue = apart(_write_for_ever, store.root)
        assert queue.get() == "begun"
        time.sleep(0.02 + 0.007 * k)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for key in store.keys("scores", ""):
            found += 1
            assert store.load("scores", key)[0]["x"][0] == int(key)
    assert found


SUITE = """
datasets = ["digits:members=20,nonmembers=40,reference=200"]
defenses = ["vp"]
attacks = ["pia"]
controls = false
[recipe.digits]
steps = 30
width = 32
[utility]
samples = 100
evaluations = 5
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [3000, 20_000])
def test_a_run_on_a_full_disk_says_so_and_the_next_one_finishes(tmp_path, limit):
    """The first limit stops the model, the second what comes after it."""
    (tmp_path / "suite.toml").write_text(SUITE)
    command = [sys.executable, "-m", "mibench", "run", str(tmp_path), "--store", str(tmp_path / "store")]
    full = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "File too large; free space" in full.stderr
    assert not [name for name in names(Store(tmp_path / "store")) if ".making-" in name]
    assert all(json.loads(path.read_text()) for path in (tmp_path / "records").rglob("*.json"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 of 2 cells done" in done.stdout
