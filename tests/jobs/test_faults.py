"""Attacks that misbehave, and faults from outside: real processes, real signals, real file systems."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from commands import Result, apart, begin

from mibench.results.record import read_record
from mibench.results.store import Store

PLUGIN = Path(__file__).with_name("misbehaving.py")
SUITE = """
datasets = ["digits:members=20,nonmembers=40,reference=200"]
defenses = [{defenses}]
attacks = [{attacks}]
seeds = {seeds}
model = "{model}"
controls = false
{recipe}
[utility]
samples = 100
evaluations = 2
"""
RECIPE = "[recipe.digits]\nsteps = 5\nwidth = 16\ndepth = 1"
TIMES = ("seconds", "digest")  # of a record; and the seconds of its model


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Make a suite in a folder of its own: (folder, how to run it)."""
    monkeypatch.setenv("MISBEHAVING_NOTES", str(tmp_path / "notes"))

    def make(*attacks, name="board", defenses=("vp",), seeds=(0,), model="exact"):
        folder = tmp_path / name
        folder.mkdir()
        quoted = [", ".join(f'"{text}"' for text in texts) for texts in (defenses, attacks)]
        recipe = RECIPE if model == "trained" else ""
        text = SUITE.format(defenses=quoted[0], attacks=quoted[1], seeds=list(seeds), model=model, recipe=recipe)
        (folder / "suite.toml").write_text(text)
        return folder

    return make


def arguments(folder, *argv):
    return "run", folder, "--plugin", PLUGIN, *argv


def run(folder, *argv):
    return apart(*arguments(folder, *argv))


@pytest.fixture
def start():
    """Start a run and go on; it does not outlive the test."""
    with contextlib.ExitStack() as stack:

        def start(folder, *argv):
            process = stack.enter_context(begin(*arguments(folder, *argv)))
            stack.callback(process.kill)
            return process

        yield start


def states(folder):
    """Records by the name of their attack: "done", or why they failed."""
    records = [read_record(path) for path in folder.rglob("records/**/*.json")]
    return {record.labels["attack"]: record.reason or record.status for record in records}


def content(folder):
    """All that records say, except times and the company in which a model was trained."""
    found = {}
    for path in sorted(folder.rglob("records/**/*.json")):
        read_record(path)
        record = json.loads(path.read_text())
        for name in TIMES:
            del record[name]
        for name in ("seconds", "together"):
            record["model"].pop(name, None)
        found[str(path.relative_to(folder))] = record
    return found


def notes(folder, kind):
    """What attacks have noted under a folder: "stub" and its k, "child" and its process."""
    path = folder / "notes"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [int(words[1]) for words in lines if words[0] == kind]


def until(condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def gone(pids):
    """Whether no process of these numbers runs any more; one that has ended may wait for its parent."""

    def runs(pid):
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(runs(pid) for pid in pids)


def sound(root):
    """Whether every artifact of a store can be loaded, and nothing half-made lies there."""
    store = Store(root)
    for kind in ("models", "scores", "samples"):
        for folder in (root / kind).iterdir():
            if not folder.name.startswith("."):
                store.load(kind, folder.name)
    return not list(root.parent.rglob("*.corrupt"))


BAD = {
    "says-goodbye": "it called sys.exit(0)",
    "exits-with-one": "the worker ended with exit code 1 without a result",
    "segfaults": "the worker was killed by signal 11 (Segmentation fault) without a result",
    "is-killed": "the worker was killed by signal 9, often because memory ran out, without a result",
    "hangs": "it took more than the time limit of 30 s and was stopped",
    "asks-for-too-much": "out of memory: RuntimeError",
}
GOOD = (
    "pia",
    "leaves-a-child",
    "leaves-a-flood",
    "forks-and-goes-on",
    "changes-the-world",
    "notices",
    "draws",
    "loss:draws=1",
)


@pytest.mark.slow
def test_attacks_that_misbehave(board, tmp_path):
    folder = board(*BAD, *GOOD)
    done = run(folder, "--workers", 2, "--time-limit", "30s")
    found = states(folder)
    assert done.code == 1 and f"{len(GOOD) + 1} of {len(GOOD) + len(BAD) + 1} cells done" in done.out, found
    for name, reason in BAD.items():
        assert found.pop(name).startswith(reason)
    assert set(found.values()) == {"done"} and len(found) == len(GOOD) + 1
    assert "retrying with no other job running" in done.err
    assert gone(notes(tmp_path, "child"))

    # the log, and where it hung
    log = apart("log", "hangs")
    assert log.code == 0 and "misbehaving.py" in log.out and "in hangs" in log.out
    record = next(folder.rglob("segfaults-*.json"))
    assert "Segmentation fault" in apart("log", record).out
    several = apart("log", "vp")
    assert several.code == 2 and "logs match" in several.err and "hangs" in several.err
    assert "no log" in apart("log", "nobody").err

    # nobody learns what others did: the same numbers without them
    alone = board("draws", "loss:draws=1", name="alone")
    assert run(alone, "--store", tmp_path / "other").code == 0
    for path, record in content(alone).items():
        assert content(folder)[path] == record

    # mended, the run is finished
    mended = board(*GOOD, name="mended")
    shutil.copytree(folder / "records", mended / "records", dirs_exist_ok=True)
    assert run(mended).code == 0


@pytest.mark.slow
def test_a_model_that_cannot_be_put_back_is_opened_anew(board):
    folder = board("leaves-a-hook", "pia", "stub", model="trained")
    assert run(folder).code == 1
    found = states(folder)
    assert "changed the model" in found.pop("leaves-a-hook") and set(found.values()) == {"done"} and len(found) == 3


@pytest.mark.slow
def test_shadow_models_that_were_changed_are_read_anew(board, tmp_path):
    folder = board("changes-a-shadow", "lira:shadows=2", "stub", model="trained")
    assert run(folder).code == 1
    found = states(folder)
    assert "changed a shadow model that others use" in found.pop("changes-a-shadow")
    assert set(found.values()) == {"done"} and len(found) == 3
    alone = board("lira:shadows=2", name="alone", model="trained")
    assert run(alone, "--store", tmp_path / "other").code == 0
    for path, record in content(alone).items():
        assert content(folder)[path] == record


@pytest.mark.slow
def test_a_flood_is_cut_in_its_middle(board):
    assert run(board("floods")).code == 0
    flood = apart("log", "floods").out
    assert "the beginning of the flood" in flood and "bytes left out" in flood and "the end of the flood" in flood
    assert len(flood) < 1 << 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_attack_that_asks_for_too_much_of_the_gpu(board):
    folder = board("asks-for-too-much-of-the-gpu", "pia")
    assert run(folder, "--device", "cuda").code == 1
    found = states(folder)
    assert found.pop("asks-for-too-much-of-the-gpu").startswith("out of GPU memory")
    assert set(found.values()) == {"done"}


@pytest.mark.slow
def test_ctrl_c_once_finishes_the_jobs_in_flight(board, start, tmp_path):
    folder = board("stub:seconds=2", seeds=(0, 1, 2))
    process = start(folder)
    until(lambda: notes(tmp_path, "stub"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "jobs in flight (1) are done" in err and "to resume" in err
    assert "Traceback" not in err and len([path for path in folder.rglob("stub*.json")]) == 1
    assert notes(tmp_path, "stub") == [1]


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGINT, signal.SIGINT),
        pytest.param((signal.SIGTERM,), marks=pytest.mark.slow),
        pytest.param((signal.SIGKILL,), marks=pytest.mark.slow),
    ],
)
def test_stopped_at_once_with_all_that_it_has_started(board, start, tmp_path, signals):
    folder = board("leaves-a-child", "stub:seconds=500")
    process = start(folder)
    until(lambda: notes(tmp_path, "child") and notes(tmp_path, "stub"))
    pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    pids += notes(tmp_path, "child")
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)
    _, err = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[signals[0]]
    assert "Traceback" not in err
    until(lambda: gone(pids), 15)
    assert not list(folder.rglob("stub*.json"))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="only where no GPU is used are those of two numbers alike")
def test_jobs_are_spread_over_gpus(board, tmp_path):
    assert run(board("stub:seconds=3", seeds=(0, 1, 2, 3)), "--workers", 4, "--gpus", "0,1").code == 0
    assert sorted(notes(tmp_path, "gpu")) == [0, 0, 1, 1]


@pytest.mark.slow
def test_two_runs_on_one_suite_and_store(board, start, tmp_path):
    cells = {"seeds": (0, 1), "defenses": ("vp", "hold2"), "model": "trained"}
    folder, other = (
        board("stub:k=1,seconds=1", "stub:k=2", **cells),
        board("stub:k=1,seconds=1", "stub:k=2", name="undisturbed", **cells),
    )
    assert run(other, "--store", tmp_path / "other").code == 0
    (tmp_path / "notes").unlink()
    both = [start(folder, "--workers", 2) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0 and "12 of 12 cells done" in out and "Traceback" not in err
    assert content(folder) == content(other)
    assert sorted(notes(tmp_path, "stub")) == 4 * [1] + 4 * [2]  # each once
    assert sound(tmp_path / "store") and not list((tmp_path / "store" / "locks").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_killed_at_any_moment_the_records_are_those_of_an_undisturbed_run(board, start, tmp_path, part):
    """Ten times in each part: kill −9 to the driver, or to any process under it; then the same command to the end."""
    cells = {"seeds": (0, 1, 2, 3), "defenses": ("vp", "hold2"), "model": "trained"}
    stubs = ("stub:k=1", "stub:k=2")
    undisturbed = board(*stubs, name="undisturbed", **cells)
    began = time.monotonic()
    assert run(undisturbed, "--store", tmp_path / "other", "--workers", 2).code == 0
    length, choose = time.monotonic() - began, random.Random(part)
    expected = content(undisturbed)
    assert len(expected) == 24
    for k in range(10):
        folder, store = board(*stubs, name=f"killed{k}", **cells), tmp_path / f"store{k}"
        process = start(folder, "--store", store, "--workers", 2)
        time.sleep(choose.uniform(0.3, 1.0) * length)
        victims = [psutil.Process(process.pid)]
        if process.poll() is None and choose.random() < 0.5:
            victims = psutil.Process(process.pid).children(recursive=True) or victims
        pids = [child.pid for child in victims[0].children(recursive=True)] if process.poll() is None else []
        try:
            choose.choice(victims).kill()
        except psutil.NoSuchProcess:
            pass
        process.communicate(timeout=300)
        if process.returncode < 0:
            until(lambda pids=pids: gone(pids), 15)
        assert process.returncode in (0, 1, -9)
        finished = run(folder, "--store", store, "--workers", 2)
        assert finished.code == 0, finished.err
        assert content(folder) == expected and sound(store)
        shutil.rmtree(store)


@pytest.mark.slow
def test_serial_parallel_sharded_and_ray_give_the_same_records(board, tmp_path):
    cells = {"seeds": (0, 1), "defenses": ("vp", "hold2"), "model": "trained"}
    ways = {
        "serial": [[]],
        "parallel": [["--workers", 2]],
        "sharded": [["--shard", f"{k}/3"] for k in (3, 1, 2)],
        "ray": [["--engine", "ray", "--workers", 2]],
    }
    found = {}
    for way, runs in ways.items():
        if way == "ray":
            pytest.importorskip("ray")
        folder = board("stub", "pia", "lira:shadows=2", name=way, **cells)
        for more in runs:
            done = run(folder, "--store", tmp_path / way, *more)
            assert done.code == 0, done.err
        found[way] = content(folder)
    assert len(found["serial"]) == 16
    for way, records in found.items():
        assert records == found["serial"], way


@pytest.mark.slow
def test_a_worker_that_ray_loses_is_replaced(board, start, tmp_path):
    pytest.importorskip("ray")
    folder = board("stub:seconds=3", seeds=(0, 1))
    process = start(folder, "--engine", "ray", "--workers", 1)
    until(lambda: notes(tmp_path, "stub"))
    (worker,) = (
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ray::_Worker.run" in " ".join(child.cmdline())
    )
    worker.kill()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0 and "4 of 4 cells done" in out and "; retrying" in err and "Traceback" not in err


SHARES = """
import sys
from pathlib import Path
from mibench.jobs.options import JobOptions
from mibench.jobs.ray import Cluster
from mibench.jobs.run import run_suite
from mibench.results.store import Store
from mibench.suite.suite import load_suite

address, folder, store, plugin = sys.argv[1:]
engine = Cluster(None, address, 0.5)
engine.choose_device = lambda wanted: "cpu"  # ray is told of a GPU that is not there
located = load_suite(folder)
options = JobOptions("cpu", (plugin,))
outcome = run_suite(located.suite, located.folder / "records", Store(Path(store)), engine, options)
assert (outcome.failures, engine.workers) == ({}, 2)
"""


@pytest.mark.slow
def test_a_ray_cluster_that_stands_and_shares_of_its_gpu(board, tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    folder, shared = board("stub", seeds=(0, 1)), board("stub:seconds=1", name="shared", seeds=(0, 1))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 1})
    address = cluster.address  # which it forgets
    try:
        done = run(folder, "--engine", "ray", "--address", address)
        assert done.code == 0 and "4 of 4 cells done" in done.out, done.err
        before = len(notes(tmp_path, "gpu"))
        script = [sys.executable, "-c", SHARES, address, shared, tmp_path / "other", PLUGIN]
        subprocess.run(list(map(str, script)), check=True, timeout=200)
        assert notes(tmp_path, "gpu")[before:] == [0, 0]
    finally:
        cluster.shutdown()
    nowhere = run(board("stub", name="new"), "--engine", "ray", "--address", address)
    assert nowhere.code == 1 and nowhere.err.startswith(f"mibench: no ray cluster answers at {address}")


def unshare(script, *argv):
    """Run a shell script where it may mount file systems of its own."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], check=False).returncode:
        pytest.skip("no file systems can be mounted here")
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "size"), [("store", "40k"), ("board", "16k")])
def test_a_full_disk(board, tmp_path, place, size):
    folder, store = board("stub", seeds=(0, 1)), tmp_path / "store"
    store.mkdir()
    (folder / "records").mkdir()
    full = store if place == "store" else folder / "records"
    script = f'mount -t tmpfs -o size={size} tmpfs "$1" && shift && "$@"; code=$?; find . -name "*.json*"; exit $code'
    done = unshare(f"cd {full}; {script}", full, sys.executable, "-m", "mibench", *arguments(folder, "--store", store))
    assert done.code == 1 and "No space left" in done.err and "Traceback" not in done.err
    assert run(folder).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["store", "records"])
def test_a_folder_that_cannot_be_written(board, tmp_path, place):
    folder, store = board("stub"), tmp_path / "store"
    (folder / "records").mkdir()
    store.mkdir()
    closed = store if place == "store" else folder / "records"
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && "$@"'
    done = unshare(script, closed, sys.executable, "-m", "mibench", *arguments(folder, "--store", store))
    assert done.code == 2 and "cannot be written" in done.err and len(done.err.splitlines()) == 1


@pytest.mark.slow
def test_a_clock_that_goes_back(board, tmp_path):
    """What was made in the future is as good."""
    folder = board("stub", model="trained")
    assert run(folder).code == 0
    for path in [*folder.rglob("*"), *(tmp_path / "store").rglob("*")]:
        os.utime(path, (4e9, 4e9))
    assert "0 now, 0 failed" in run(folder).out
    (folder / "suite.toml").write_text((folder / "suite.toml").read_text().replace('"stub"', '"stub", "pia"'))
    more = run(folder)
    assert more.code == 0 and "trained" not in more.err and "1 now" in more.out
    assert apart("log", "pia").code == 0
