"""The local engine: room, memory, and jobs that cannot be started."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch
from benches import cell

from mibench.errors import UsageError
from mibench.jobs import local, worker
from mibench.jobs.local import Local, RunningJob
from mibench.jobs.memory import memory_left
from mibench.jobs.messages import Begin, Done, Ended, JobSpec, Lost
from mibench.jobs.options import JobOptions
from mibench.jobs.scheduler import Scheduler
from mibench.results.store import Store
from mibench.suite.cells import CellSpec
from mibench.suite.plan import Plan


def test_there_is_room_while_a_worker_is_idle_and_memory_suffices(monkeypatch):
    def guard(memory):
        return RunningJob(SimpleNamespace(pid=0), None, None, memory)

    monkeypatch.setattr(local, "memory_left", lambda: 10)
    monkeypatch.setattr(local, "memory_used", lambda pid: 3)
    engine = Local(2)
    assert engine.has_room(100)  # the first job always starts
    engine.guards["a"] = guard(7)
    assert engine.has_room(6) and not engine.has_room(7)  # four are promised to the other job
    engine.guards["b"] = guard(1)
    assert not engine.has_room(0)


@pytest.mark.parametrize(
    ("shown", "asked", "given"),
    [
        (None, "1", "1"),
        ("", "1", "1"),
        ("4,6", "1", "6"),
        ("4,6", "GPU-89", "GPU-89"),
        ("MIG-a, MIG-b", "0", "MIG-a"),
    ],
)
def test_gpus_are_counted_among_those_that_this_process_may_use(shown, asked, given, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert Local(1, (asked,)).gpus == (given,)


def test_a_gpu_that_this_process_may_not_use_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    with pytest.raises(UsageError, match="--gpus 2: CUDA_VISIBLE_DEVICES shows 2 GPUs here; number them from 0"):
        Local(1, ("0", "2"))


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of GPU memory"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), "out of GPU memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "out of GPU memory",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out of GPU memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "out of memory"),
        (MemoryError(), "out of memory"),
    ],
)
def test_memory_that_ran_out_is_recognised_whoever_says_so(error, where, capsys):
    assert worker._is_memory_error(error) and worker._describe(error).startswith(where)
    assert not worker._is_memory_error(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_jobs_look_for_a_gpu_without_starting_cuda(monkeypatch):
    """A process forked after CUDA has started cannot use it; importing diffusers looks for a GPU."""
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    with local._clean_start():
        assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ


GROUPS = {
    2: ("0::/a/b", "", ("memory.max", "memory.current", "inactive_file")),
    1: ("4:cpu:/\n9:memory:/a/b", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
}


@pytest.mark.parametrize("version", GROUPS)
def test_the_memory_of_control_groups_counts_also_that_of_outer_ones(version, tmp_path):
    text, top, (limit, used, cache) = GROUPS[version]
    (tmp_path / "cgroup").write_text(f"{text}\n")
    folder = tmp_path / top / "a"
    (folder / "b").mkdir(parents=True)
    for group, most in ((folder, "5000"), (folder / "b", "max")):
        for name, content in ((limit, most), (used, "3000"), ("memory.stat", f"anon 1\n{cache} 700")):
            (group / name).write_text(f"{content}\n")
    assert memory_left(tmp_path / "cgroup", tmp_path) == 2700
    (folder / limit).write_text("max\n")
    assert memory_left(tmp_path / "cgroup", tmp_path) > 1 << 20
    assert memory_left(tmp_path / "none", tmp_path) > 1 << 20


def spec(tmp_path, kind="measure"):
    cells = (CellSpec.of(cell("pia")),)
    return JobSpec(kind=kind, cells=cells, device="cpu", store=tmp_path / "store", log=tmp_path / "log")


def test_a_job_that_cannot_be_started_is_lost(monkeypatch, tmp_path):
    def fails(self):
        raise EOFError

    with Local(1) as engine:
        monkeypatch.setattr(engine.context.Process, "start", fails)
        engine.start("job", spec(tmp_path), 0)
        assert engine.wait() == [("job", Lost(reason="no process could be started: EOFError"))]
        assert not engine.guards


def test_what_a_job_says(tmp_path):
    """A model, then a cell on it; the driver's script is not imported, and its module stays."""
    script = sys.modules["__main__"]
    said = {}
    with Local(1) as engine:
        for kind in ("models", "measure"):
            engine.start(kind, spec(tmp_path, kind), 0)
            while engine.guards:
                for job, message in engine.wait():
                    said.setdefault(job, []).append(message)
    assert sys.modules["__main__"] is script
    (end,) = said["models"]
    assert isinstance(end, Ended) and not end.error and end.memory_used > 1 << 20
    begin, *_, done, end = said["measure"]
    assert begin == Begin(cell_index=0) and isinstance(done, Done) and done.record.status == "done"
    assert isinstance(end, Ended) and not end.error


class Forgetful(Local):
    """Loses every worker just before its last message."""

    def wait(self):
        return [(job, Lost(reason="gone") if isinstance(said, Ended) else said) for job, said in super().wait()]


def test_a_worker_that_is_lost_after_its_last_record_costs_nothing(tmp_path):
    cells, events = [cell(), cell("pia")], []
    plan = Plan(cells, tmp_path / "records", Store(tmp_path / "store"))
    assert Scheduler(plan, cells, Forgetful(1), JobOptions("cpu"), events.append).run() == {}
    assert {state for state, _ in plan.states()} == {"done"}
    done = [event for event in events if event.kind == "done"]
    assert [(event.finished, event.total) for event in done] == [(1, 2), (2, 2)]


def test_a_package_that_is_installed_after_the_first_job_is_seen(request):
    Local().prepare()
    package = request.getfixturevalue("package")
    words = "--defense calm --attack direct --dataset digits:members=20,nonmembers=40,reference=200 --model exact"
    code, out, err = package.run("run", *words.split(), "--samples", "100")
    assert code == 0 and "2 of 2 cells done, 2 now" in out, err
