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


def command(folder, *argv):
    return [sys.executable, "-m", "mibench", "run", str(folder), "--plugin", str(PLUGIN), *map(str, argv)]


def run(folder, *argv, **more):
    done = subprocess.run(command(folder, *argv), capture_output=True, text=True, timeout=500, check=False, **more)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def start():
    """Start a run and go on; it does not outlive the test."""
    with contextlib.ExitStack() as stack:

        def begin(folder, *argv):
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command(folder, *argv), stdout=pipe, stderr=pipe, text=True))
            stack.callback(process.kill)
            return process

        yield begin


def mibench(*argv):
    return subprocess.run(
        [sys.executable, "-m", "mibench", *map(str, argv)], capture_output=True, text=True, timeout=200, check=False
    )


def states(folder):
    """Records by the name of their attack: "done", or why they failed."""
    records = [read_record(path) for path in folder.rglob("records/**/*.json")]
    return {record.labels["attack"]: record.reason or record.status for record in records}


def content(folder):
    """All that records say, except times."""
    found = {}
    for path in sorted(folder.rglob("records/**/*.json")):
        read_record(path)
        record = json.loads(path.read_text())
        for name in TIMES:
            del record[name]
        record["model"].pop("seconds", None)
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
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


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
    "is-killed": "the worker was killed by signal 9, often for memory, without a result",
    "hangs": "it took more than the time limit of 15 s and was stopped",
    "asks-for-too-much": "memory does not suffice: RuntimeError",
}
GOOD = (
    "pia",
    "leaves-a-child",
    "leaves-a-flood",
    "forges",
    "forks-and-goes-on",
    "changes-the-world",
    "notices",
    "draws",
    "loss:draws=1",
)


@pytest.mark.slow
def test_attacks_that_misbehave(board, tmp_path):
    folder = board(*BAD, *GOOD)
    done = run(folder, "--workers", 2, "--time-limit", "15s")
    assert done.returncode == 1 and f"{len(GOOD) + 1} of {len(GOOD) + len(BAD) + 1} cells done" in done.stdout
    found = states(folder)
    for name, reason in BAD.items():
        assert found.pop(name).startswith(reason)
    assert set(found.values()) == {"done"} and len(found) == len(GOOD) + 1
    assert "tried again with nothing beside it" in done.stderr
    assert gone(notes(tmp_path, "child"))

    # the log, and where it hung
    log = mibench("log", "hangs")
    assert log.returncode == 0 and "misbehaving.py" in log.stdout and "in hangs" in log.stdout
    record = next(folder.rglob("segfaults-*.json"))
    assert "Segmentation fault" in mibench("log", record).stdout
    several = mibench("log", "vp")
    assert several.returncode == 2 and "logs match" in several.stderr and "hangs" in several.stderr
    assert "no log" in mibench("log", "nobody").stderr

    # nobody learns what others did: the same numbers without them
    alone = board("draws", "loss:draws=1", name="alone")
    assert run(alone, "--store", tmp_path / "other").returncode == 0
    for path, record in content(alone).items():
        assert content(folder)[path] == record

    # mended, the run is finished
    mended = board(*GOOD, name="mended")
    shutil.copytree(folder / "records", mended / "records", dirs_exist_ok=True)
    assert run(mended).returncode == 0


@pytest.mark.slow
def test_a_model_that_cannot_be_put_back_is_opened_anew(board):
    folder = board("leaves-a-hook", "pia", "stub", model="trained")
    assert run(folder).returncode == 1
    found = states(folder)
    assert "changed the model" in found.pop("leaves-a-hook") and set(found.values()) == {"done"} and len(found) == 3


@pytest.mark.slow
def test_shadow_models_that_were_changed_are_read_anew(board, tmp_path):
    folder = board("changes-a-shadow", "lira:shadows=2", "stub", model="trained")
    assert run(folder).returncode == 1
    found = states(folder)
    assert "changed a shadow model that others use" in found.pop("changes-a-shadow")
    assert set(found.values()) == {"done"} and len(found) == 3
    alone = board("lira:shadows=2", name="alone", model="trained")
    assert run(alone, "--store", tmp_path / "other").returncode == 0
    for path, record in content(alone).items():
        assert content(folder)[path] == record


@pytest.mark.slow
def test_a_guard_that_was_stopped_does_not_hold_its_job_for_ever(board, tmp_path):
    bad = "stops-its-guard", "stops-its-guard-and-goes-on"
    folder = board("stub:k=1", *bad, "stub:k=2")
    assert run(folder, "--workers", 2, "--time-limit", "3s").returncode == 1
    found = states(folder)
    for name in bad:
        assert "its guard did not stop it at the time limit" in found.pop(name)
    assert set(found.values()) == {"done"} and len(list(folder.rglob("records/**/*.json"))) == 5
    assert gone(notes(tmp_path, "child"))


@pytest.mark.slow
def test_what_all_jobs_are_forked_from_is_woken(board):
    done = run(board("stops-what-all-jobs-are-forked-from", seeds=(0, 1)))
    assert done.returncode == 0 and "4 of 4 cells done" in done.stdout


@pytest.mark.slow
def test_a_flood_is_cut_in_its_middle(board):
    assert run(board("floods")).returncode == 0
    flood = mibench("log", "floods").stdout
    assert "the beginning of the flood" in flood and "bytes left out" in flood and "the end of the flood" in flood
    assert len(flood) < 1 << 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_attack_that_asks_for_too_much_of_the_gpu(board):
    folder = board("asks-for-too-much-of-the-gpu", "pia")
    assert run(folder, "--device", "cuda").returncode == 1
    found = states(folder)
    assert found.pop("asks-for-too-much-of-the-gpu").startswith("the GPU's memory does not suffice")
    assert set(found.values()) == {"done"}


@pytest.mark.slow
def test_what_is_written_into_the_store_is_found_on_load(board, tmp_path):
    """The attack spoils the models of others; what was loaded before is sound, what is loaded after is made anew."""
    folder = board("writes-into-the-store", "stub", defenses=("vp", "ve"))
    hurt = run(folder)
    assert hurt.returncode == 1 and "corrupt" in hurt.stderr
    (folder / "suite.toml").write_text((folder / "suite.toml").read_text().replace('"writes-into-the-store", ', ""))
    run(folder)
    assert run(folder).returncode == 0
    clean = board("stub", name="clean", defenses=("vp", "ve"))
    assert run(clean, "--store", tmp_path / "other").returncode == 0
    assert all(content(folder)[path] == record for path, record in content(clean).items())


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
    assert run(board("stub:seconds=3", seeds=(0, 1, 2, 3)), "--workers", 4, "--gpus", "0,1").returncode == 0
    assert sorted(notes(tmp_path, "gpu")) == [0, 0, 1, 1]


@pytest.mark.slow
def test_two_runs_on_one_suite_and_store(board, start, tmp_path):
    cells = {"seeds": (0, 1), "defenses": ("vp", "hold2"), "model": "trained"}
    folder, other = (
        board("stub:k=1,seconds=1", "stub:k=2", **cells),
        board("stub:k=1,seconds=1", "stub:k=2", name="undisturbed", **cells),
    )
    assert run(other, "--store", tmp_path / "other").returncode == 0
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
    assert run(undisturbed, "--store", tmp_path / "other", "--workers", 2).returncode == 0
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
        assert finished.returncode == 0, finished.stderr
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
            assert done.returncode == 0, done.stderr
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
    assert (
        process.returncode == 0 and "4 of 4 cells done" in out and "it is tried again" in err and "Traceback" not in err
    )


SHARES = """
import sys
from pathlib import Path
from mibench.jobs.ray import Cluster
from mibench.suite.plan import Plan
from mibench.jobs.scheduler import Work, execute
from mibench.results.store import Store
from mibench.suite.suite import load_suite, plan_cells
from mibench.plugins import load

address, folder, store, plugin = sys.argv[1:]
cells = plan_cells(load((plugin,)), load_suite(folder).suite)
plan = Plan(cells, Path(folder) / "records", Store(Path(store)))
engine = Cluster(None, address, 0.5)
failed = execute(plan, cells, engine, Work("cpu", (plugin,)), lambda event: None)
assert (failed, engine.workers) == (0, 2)
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
        assert done.returncode == 0 and "4 of 4 cells done" in done.stdout, done.stderr
        before = len(notes(tmp_path, "gpu"))
        script = [sys.executable, "-c", SHARES, address, shared, tmp_path / "other", PLUGIN]
        subprocess.run(list(map(str, script)), check=True, timeout=200)
        assert notes(tmp_path, "gpu")[before:] == [0, 0]
    finally:
        cluster.shutdown()
    nowhere = run(board("stub", name="new"), "--engine", "ray", "--address", address)
    assert nowhere.returncode == 1 and nowhere.stderr.startswith(f"mibench: no ray cluster answers at {address}")


def unshare(script, *argv):
    """Run a shell script where it may mount file systems of its own."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], check=False).returncode:
        pytest.skip("no file systems can be mounted here")
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("place", "size"), [("store", "40k"), ("board", "16k")])
def test_a_full_disk(board, tmp_path, place, size):
    folder, store = board("stub", seeds=(0, 1)), tmp_path / "store"
    store.mkdir()
    (folder / "records").mkdir()
    full = store if place == "store" else folder / "records"
    script = f'mount -t tmpfs -o size={size} tmpfs "$1" && shift && "$@"; code=$?; find . -name "*.json*"; exit $code'
    done = unshare(f"cd {full}; {script}", full, *command(folder, "--store", store))
    assert done.returncode == 1 and "No space left" in done.stderr and "Traceback" not in done.stderr
    assert run(folder).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["store", "records"])
def test_a_folder_that_cannot_be_written(board, tmp_path, place):
    folder, store = board("stub"), tmp_path / "store"
    (folder / "records").mkdir()
    store.mkdir()
    closed = store if place == "store" else folder / "records"
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && "$@"'
    done = unshare(script, closed, *command(folder, "--store", store))
    assert done.returncode == 2 and "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_clock_that_goes_back(board, tmp_path):
    """What was made in the future is as good."""
    folder = board("stub", model="trained")
    assert run(folder).returncode == 0
    for path in [*folder.rglob("*"), *(tmp_path / "store").rglob("*")]:
        os.utime(path, (4e9, 4e9))
    assert "0 now, 0 failed" in run(folder).stdout
    (folder / "suite.toml").write_text((folder / "suite.toml").read_text().replace('"stub"', '"stub", "pia"'))
    more = run(folder)
    assert more.returncode == 0 and "trained" not in more.stderr and "1 now" in more.stdout
    assert mibench("log", "pia").returncode == 0
