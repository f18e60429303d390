"""The engine end to end, with real processes: train once, attack many, resume, survive."""

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from benches import SMALL, cell
from commands import begin

from mibench.results.record import read_record
from mibench.results.store import Store
from mibench.suite.plan import Plan

SUITE = """
datasets = ["digits:members=20,nonmembers=40,reference=200"]
defenses = ["vp", "hold2"]
attacks = ["secmi:steps=5", "pia"]
seeds = [0]
controls = false
[recipe.digits]
steps = 20
width = 16
depth = 1
[utility]
samples = 100
evaluations = 5
"""

PLUGIN = """
    import os, signal
    import torch
    from mibench import Attack, hookimpl

    class Base(Attack):
        "Misbehaves."
        published = "x"

    class Raises(Base):
        "Raises."
        name = "raises"
        def score(self, model, x, ctx):
            raise RuntimeError("on purpose")

    class Exits(Base):
        "Exits with success."
        name = "exits"
        def score(self, model, x, ctx):
            os._exit(0)

    class Killed(Base):
        "Is killed in scoring, after it has learnt."
        name = "killed"
        def score(self, model, x, ctx):
            os.kill(os.getpid(), signal.SIGKILL)

    def answers(title, make):
        "An attack that returns what a function makes of good scores."
        def score(self, model, x, ctx):
            return {"x": make(-x.flatten(1).norm(dim=1))}
        return type(title, (Base,), {"__doc__": title, "name": title, "score": score})

    WRONG = [
        answers("nan", lambda good: good * torch.nan),
        answers("infinite", lambda good: good * torch.inf),
        answers("misshapen", lambda good: good[:, None]),
        answers("constant", lambda good: torch.ones_like(good)),
        answers("integers", lambda good: good.long()),
        answers("elsewhere", lambda good: good.to("meta")),
        answers("graded", lambda good: good.requires_grad_()),
    ]

    class Learns(Base):
        "Fits the mean of the calibration members."
        name = "learns"
        def fit(self, model, members, nonmembers, ctx):
            object.__setattr__(self, "_centre", members.mean(0))
        def score(self, model, x, ctx):
            return {"x": -(x - self._centre).flatten(1).norm(dim=1)}

    @hookimpl
    def mibench_attacks():
        return [Raises, Exits, Killed, *WRONG, Learns]
"""


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "suite.toml").write_text(SUITE)
    return folder


def page_of(folder):
    """The board, without the padding of its tables."""
    return re.sub(" +", " ", (folder / "README.md").read_text())


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*.json"))}


def test_a_suite_runs_resumes_and_takes_another_attack_without_retraining(suite, tmp_path, mibench):
    first = mibench("run", suite / "suite.toml", "--workers", 2)
    assert first.code == 0, first.err
    assert "6 of 6 cells done, 6 now, 0 failed" in first.out
    before = stamps(suite / "records")
    assert len(before) == 6
    again = mibench("run", suite)
    assert again.code == 0 and "6 of 6 cells done, 0 now" in again.out
    models = stamps(tmp_path / "store" / "models")
    (suite / "suite.toml").write_text(SUITE.replace('"pia"]', '"pia", "loss:draws=1"]'))
    more = mibench("run", suite)
    assert more.code == 0 and "8 of 8 cells done, 2 now" in more.out
    assert "trained" not in more.err and stamps(tmp_path / "store" / "models") == models
    assert {path: stamp for path, stamp in stamps(suite / "records").items() if path in before} == before

    record = read_record(next(iter(before)))
    assert record.split.fingerprint and record.model.digest and record.environment.torch
    attacked = read_record(suite / "records" / "digits_members_20_nonmembers_40_reference_200" / "vp" / "pia-s0.json")
    assert attacked.cost.forwards == 8.0 and not attacked.cost.vjps
    assert attacked.attack.members == 16 and attacked.attack.nonmembers == 32
    assert (
        attacked.attack.calibrated.tpr["0.01"].value is None
        and "needed" in attacked.attack.calibrated.tpr["0.01"].reason
    )

    status = mibench("status", suite)
    assert "8 cells: 8 done" in status.out
    assert mibench("validate", suite).code == 0
    assert mibench("leaderboard", suite).code == 0
    rendered = (suite / "README.md").read_bytes()
    assert mibench("leaderboard", suite, "--check").code == 0
    (suite / "README.md").unlink()
    assert mibench("leaderboard", suite, "--check").code == 1
    mibench("leaderboard", suite)
    assert (suite / "README.md").read_bytes() == rendered

    # the same on a machine that has the records and not the artifacts
    fresh = mibench("run", suite, "--store", tmp_path / "elsewhere")
    assert fresh.code == 0 and "8 of 8 cells done, 0 now" in fresh.out

    # a hand-edited record
    path = next(iter(before))
    content = json.loads(path.read_text())
    content["seconds"] += 1
    path.write_text(json.dumps(content))
    assert "was edited" in mibench("validate", suite).out
    edited = mibench("run", suite)
    assert edited.code == 1 and "was edited" in edited.err


def test_checkpoints_controls_and_shadow_models(suite, tmp_path, mibench):
    """Every kind of cell at once: run, resume, render, validate."""
    text = SUITE.replace("controls = false", "checkpoints = [0.5]").replace('"vp", "hold2"', '"vp"')
    (suite / "suite.toml").write_text(text.replace('"secmi:steps=5"', '"lira:shadows=3"'))
    done = mibench("run", suite)
    assert done.code == 0 and "11 of 11 cells done, 11 now, 0 failed" in done.out, done.err
    # the target, exact and fresh models; the target at both checkpoints is one job, and its shadows are one
    assert done.err.count("trained  ") == 2 * (1 + 3) + 2
    assert "3 models of vp are trained " in done.err and "evaluations of the network requested" in done.err
    logs = {path.stem for path in (tmp_path / "store" / "logs").iterdir()}
    models = {path.name for path in (tmp_path / "store" / "models").iterdir()}
    assert len(models) == 10 and len(models & logs) == 4
    names = {path.name: path for path in (suite / "records").rglob("*.json")}
    kinds = ("", "-at10", "-exact", "-fresh")
    assert set(names) == {
        "utility-s0.json",
        "utility-at10-s0.json",
        "blind-fresh-s0.json",
        *(f"{attack}{kind}-s0.json" for attack in ("pia", "lira_shadows_3") for kind in kinds),
    }
    halves = [read_record(names[f"lira_shadows_3{kind}-s0.json"]) for kind in kinds[:2]]
    assert [record.model.steps for record in halves] == [20, 10]
    assert all(len(record.model.shadows) == 3 and record.attack.tier == "shadows" for record in halves)
    assert read_record(names["pia-exact-s0.json"]).attack.calibrated.auroc.value > 0.9

    before = stamps(suite / "records")
    again = mibench("run", suite)
    assert again.code == 0 and "11 of 11 cells done, 0 now" in again.out
    assert stamps(suite / "records") == before and "trained" not in again.err

    assert mibench("validate", suite).code == 0
    assert mibench("leaderboard", suite).code == 0
    page = page_of(suite)
    assert "worst known attack: **shadow models**" in page and "### Controls of" in page and "`blind`" in page
    assert "along the training" in page and "| step 10 |" in page
    assert "3 of 3 cells are done. There are 8 further records" in page
    assert mibench("leaderboard", suite, "--check").code == 0


WRONG = {
    "raises": "RuntimeError: on purpose",
    "exits": "the worker ended with exit code 0 without a result",
    "killed": "the worker was killed by signal 9, often because memory ran out, without a result",
    "nan": "attack nan, setting 'x': a score is NaN or infinite",
    "infinite": "attack infinite, setting 'x': a score is NaN or infinite",
    "misshapen": "attack misshapen, setting 'x': expected a tensor of shape (60,), got (60, 1)",
    "constant": "attack constant gives every sample the same score",
    "integers": "attack integers, setting 'x': scores must be floating-point numbers, got torch.int64",
    "elsewhere": "attack elsewhere, setting 'x': scores must be on the device of the model, without gradients",
    "graded": "attack graded, setting 'x': scores must be on the device of the model, without gradients",
}


def test_misbehaving_attacks_cost_their_own_cell_and_the_board_says_so(suite, tmp_path, mibench):
    plugin = tmp_path / "bad.py"
    plugin.write_text(textwrap.dedent(PLUGIN))
    text = SUITE.replace('"vp", "hold2"', '"vp"')
    bad = ", ".join(f'"{name}"' for name in (*WRONG, "learns"))
    (suite / "suite.toml").write_text(text.replace('"pia"]', f'"pia", {bad}]'))
    done = mibench("run", suite, "--plugin", plugin, "--workers", 2)
    assert done.code == 1
    assert "4 of 14 cells done, 4 now, 10 failed" in done.out
    assert all(reason in done.err for reason in WRONG.values())
    records = {path.name.removesuffix("-s0.json"): read_record(path) for path in (suite / "records").rglob("*.json")}
    assert {name: record.reason for name, record in records.items() if record.status == "failed"} == WRONG
    assert {name for name, record in records.items() if record.status == "done"} == {
        *("utility", "secmi_steps_5", "pia", "learns")
    }
    logs = "".join(path.read_text() for path in (tmp_path / "store" / "logs").iterdir())
    assert "on purpose" in logs and "Traceback" in logs
    status = mibench("status", suite, "--plugin", plugin).out
    assert "4 done, 10 failed" in status and WRONG["nan"] in status

    assert mibench("validate", suite, "--plugin", plugin).code == 0
    assert mibench("leaderboard", suite, "--plugin", plugin).code == 0
    page = page_of(suite)
    assert "4 of 14 cells are done." in page and "**10 cells failed**" in page.partition("## digits")[0]
    for name, reason in WRONG.items():
        (mark,) = (line.partition("]")[0] for line in page.splitlines() if line.endswith(f"]: {reason}"))
        assert f"| `{name}` | failed{mark}] |" in page

    plugin.write_text(textwrap.dedent(PLUGIN).replace("good * torch.nan", "good").replace("good[:, None]", "good"))
    mended = mibench("run", suite, "--plugin", plugin)
    assert mended.code == 1 and "6 of 14 cells done, 2 now, 8 failed" in mended.out
    mibench("leaderboard", suite, "--plugin", plugin)
    page = page_of(suite)
    assert "| `nan` | ." in page and "| `misshapen` | ." in page and "**8 cells failed**" in page


def test_a_model_that_cannot_be_made_fails_its_cells(suite, tmp_path, mibench):
    """Until its defense is mended."""
    plugin = tmp_path / "defense.py"
    code = """
    import torch
    from mibench import hookimpl
    from mibench_defenses import VP

    class Broken(VP):
        "Has no finite loss."
        name = "broken"
        def losses(self, *args):
            return super().losses(*args) * torch.nan

    @hookimpl
    def mibench_defenses():
        return [Broken]
    """
    plugin.write_text(textwrap.dedent(code))
    (suite / "suite.toml").write_text(SUITE.replace('"vp", "hold2"', '"broken"'))
    assert mibench("run", suite, "--plugin", plugin).code == 1
    records = [read_record(path) for path in (suite / "records").rglob("*.json")]
    assert len(records) == 3 and all("broken · seed 0 cannot be trained" in record.reason for record in records)
    assert mibench("leaderboard", suite, "--plugin", plugin).code == 0
    assert "| failed[^1] | failed[^1] | failed[^1] |" in page_of(suite)
    assert "3 failed" in mibench("status", suite, "--plugin", plugin).out
    assert mibench("validate", suite, "--plugin", plugin).code == 0
    plugin.write_text(textwrap.dedent(code).replace(" * torch.nan", ""))
    mended = mibench("run", suite, "--plugin", plugin)
    assert mended.code == 0 and "3 of 3 cells done, 3 now" in mended.out and "stale" not in mended.err


def test_reasons_name_no_folder_of_this_machine():
    plan = Plan([], Path("records"), Store(Path(os.environ["MIBENCH_STORE"])))
    reason = "FileNotFoundError: '/home/me/some data/x.bin' is not there;\n see https://a.org/b/c, 1/2 of /tmp/y/z.log"
    told = plan.failure(cell("pia"), reason)
    assert told.reason == "FileNotFoundError: 'some data/x.bin' is not there; see https://a.org/b/c, 1/2 of z.log"
    assert told.status == "failed" and told.digest == told.content_digest() and told.key == cell("pia").key("")


@pytest.mark.slow
def test_killed_half_way_it_goes_on(suite, mibench):
    process = begin("run", suite)
    deadline = time.monotonic() + 120
    while not stamps(suite / "records") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    kept = stamps(suite / "records")
    assert kept
    done = mibench("run", suite)
    assert done.code == 0 and "6 of 6 cells done" in done.out
    assert {path: stamp for path, stamp in stamps(suite / "records").items() if path in kept} == kept


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncate", "flip", "meta"])
def test_a_corrupt_model_is_named_set_aside_and_made_anew(suite, tmp_path, damage, mibench):
    text = SUITE.replace('"vp", "hold2"', '"vp"')
    (suite / "suite.toml").write_text(text)
    assert mibench("run", suite).code == 0
    (model,) = (tmp_path / "store" / "models").iterdir()
    tensors = model / "tensors.safetensors"
    raw = bytearray(tensors.read_bytes())
    if damage == "truncate":
        tensors.write_bytes(raw[: len(raw) // 2])
    elif damage == "flip":
        raw[-1] ^= 1
        tensors.write_bytes(raw)
    else:
        (model / "meta.json").write_text("{}")
    (suite / "suite.toml").write_text(text.replace('"pia"]', '"pia", "loss:draws=1"]'))
    hurt = mibench("run", suite)
    assert hurt.code == 1 and "corrupt" in hurt.err
    healed = mibench("run", suite)
    assert healed.code == 0 and "4 of 4 cells done" in healed.out


@pytest.mark.slow
def test_the_same_cell_gives_the_same_numbers(suite, tmp_path, mibench):
    other = tmp_path / "again"
    other.mkdir()
    (other / "suite.toml").write_text(SUITE)
    assert mibench("run", suite).code == 0
    assert mibench("run", other, "--store", tmp_path / "another", "--workers", 2).code == 0
    for path in (suite / "records").rglob("*.json"):
        first, second = read_record(path), read_record(other / "records" / path.relative_to(suite / "records"))
        assert (first.key, first.attack, first.utility) == (second.key, second.attack, second.utility)


SCRIPT = """
import threading
import mibench

def run(defense):
    digits = "digits:members=20,nonmembers=40,reference=200"
    record = mibench.run(defense, "pia", digits, model="exact", store={store!r})
    assert record.attack.calibrated.auroc.value > 0.9
    ended.append(defense)

ended = []
run("hold2")
threads = [threading.Thread(target=run, args=(defense,)) for defense in ("vp", "ve")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sorted(ended) == ["hold2", "ve", "vp"]
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", "session"])
def test_python_interface(tmp_path, way):
    """From a script that does not ask whether it is the main module, from a session without a file, and from threads."""
    script = SCRIPT.format(store=str(tmp_path / "api"))
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, tmp_path / "script.py"] if way == "script" else [sys.executable, "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0 and not done.stdout, done.stderr
    assert "Error" not in done.stderr and "done" not in done.stderr
    assert len(list((tmp_path / "api").rglob("records/**/pia-exact-s0.json"))) == 3


def test_python_interface_says_what_went_wrong(tmp_path):
    import mibench as package

    plugin = tmp_path / "bad.py"
    plugin.write_text(textwrap.dedent(PLUGIN))
    small = {"dataset": SMALL, "model": "exact", "plugins": (plugin,)}
    with pytest.raises(package.MibenchError, match="on purpose"):
        package.run("hold2", "raises", **small)
    for wrong in ({"attack": "piaa"}, {"seed": -1}, {"attack": "pia", "recipe": "steps"}, {"model": "x"}):
        with pytest.raises(package.UsageError):
            package.run("hold2", **{"attack": "pia", **small, **wrong})
    assert package.defense("hold3").order == 3 and package.dataset("digits").members == 100
    assert package.attack("pia:p=2").p == 2


def test_unwritable_store_is_one_line(suite, tmp_path, mibench):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = mibench("run", suite, "--store", blocked)
    assert done.code == 2 and "cannot be written" in done.err


@pytest.mark.slow
def test_a_full_disk_is_one_line(suite):
    """The file-size limit of the process stands in for a full disk: writes beyond it fail with an OSError."""
    (suite / "suite.toml").write_text(
        SUITE.replace('"vp", "hold2"', '"vp"').replace("controls", 'model = "exact"\ncontrols')
    )
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        f"from mibench.cli import main; raise SystemExit(main(['run', r'{suite}']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not [path for path in suite.rglob("*.json") if read_record(path).status == "done"]


@pytest.mark.slow
def test_two_recipes_have_records_of_their_own(tmp_path, mibench):
    base = ["run", "--defense", "vp", "--attack", "pia", "--samples", 100]
    base += ["--dataset", "digits:members=20,nonmembers=40,reference=200"]
    for recipe in ("steps=10,width=16", "steps=20,width=16"):
        assert "2 of 2 cells done, 2 now" in mibench(*base, "--recipe", recipe).out
    again = mibench(*base, "--recipe", "steps=10,width=16")
    assert "2 of 2 cells done, 0 now" in again.out and "stale" not in again.err
