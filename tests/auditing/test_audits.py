"""The audit as a whole: what it refuses before any attack, what its headline says, and what it writes."""

import functools
import re
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from digit_models import save
from PIL import Image, ImageFilter

import mibench
from mibench.auditing.opened import open_given
from mibench.auditing.result import Audit
from mibench.auditing.run import _Clock, run_audit
from mibench.auditing.settings import AuditSettings
from mibench.errors import MibenchError, UsageError
from mibench.evaluate import scoring
from mibench.evaluate.attack_run import AttackRun
from mibench.evaluate.measure import measure


def until(true, seconds=60):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def audit(tmp_path, digits):
    """Audit in this process: the result, and what was said."""

    def done(model, kind="grey", **options):
        said = []
        given = {"members": digits / kind / "members", "nonmembers": digits / kind / "others", "samples": 0}
        given |= {"attacks": ("pia:times=[0.1,0.3]",), "controls": False, "out": tmp_path / "out"} | options
        folder = run_audit(AuditSettings(model=model, **given), said.append, lambda *done: None)
        return Audit.read(folder), said

    return done


@pytest.mark.slow
def test_a_memorised_model_leaks_and_the_report_says_so(audit, optimal):
    found, said = audit(optimal(), attacks=("pia", "loss:draws=4", "rmia"), controls=True, samples=20)
    assert found.verdict == "leaks" and found.set_level.p_value < 1e-9
    assert {row.attack for row in found.attacks} == {"pia", "loss:draws=4"} and "training is not known" in str(
        said
    ) + str(found.not_applicable["rmia"])
    assert all(row.auroc > 0.95 and row.exact > 0.95 and 0.3 < row.fresh < 0.7 for row in found.attacks)
    assert not any(row.tells for row in found.split) and len(found.split) == 3
    assert {record.cell.model for record in found.records} == {"given", "exact", "fresh"}
    scores = found.scores
    assert len(scores) == 64 + 80 and set(scores["side"]) == {"member", "nonmember"}
    evaluated = scores[scores["part"] == "evaluation"].set_index("file")
    assert found.leaks[0].file == evaluated[evaluated["side"] == "member"][found.worst].idxmax()
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert found.headline in page and not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|<script""", page)
    assert page.count("data:image/png;base64") == 2 * len(found.leaks)
    assert found.headline in (found.folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_again_takes_what_is_stored_and_the_path_of_the_model_does_not_count(audit, optimal, monkeypatch):
    first, _ = audit(optimal())
    monkeypatch.setattr("mibench.evaluate.attack_run.AttackRun.score", None)
    again, _ = audit(optimal())
    assert again.attacks == first.attacks
    with pytest.raises(MibenchError, match="no attack could be run"):
        audit(optimal(blur=0.21))


@pytest.mark.slow
def test_an_audit_that_is_stopped_goes_on_where_it_was(audit, optimal, monkeypatch, tmp_path):
    scored, score = [], AttackRun.score
    monkeypatch.setattr(scoring, "BATCH", 16)
    monkeypatch.setattr("mibench.auditing.run.measure", functools.partial(measure, save_every=0))

    def stopped(run, x, batch):
        scored.append(run.attack.label)
        if scored.count("pia") == stop:
            raise KeyboardInterrupt
        score(run, x, batch)

    monkeypatch.setattr(AttackRun, "score", stopped)
    stop = 6
    with pytest.raises(KeyboardInterrupt):
        audit(optimal(), attacks=("pia",))
    stop, scored = 0, []
    found, said = audit(optimal(), attacks=("pia",))
    assert scored == ["pia"] * 4 and "scoring the model goes on after batch 5 of 9" in said
    whole, _ = audit(optimal(), attacks=("pia",), store=tmp_path / "other")
    assert found.scores.equals(whole.scores)


@pytest.mark.slow
def test_a_model_of_other_data_is_not_blamed(audit, optimal):
    found, _ = audit(optimal(folder="elsewhere", blur=0.4))
    assert found.verdict == "nothing found" and 0.3 < found.attacks[0].auroc < 0.7


@pytest.mark.parametrize(
    ("kind", "settings", "options", "said"),
    [
        ("grey", {"answers": "v_prediction"}, {}, "as v_prediction"),
        ("grey", {"trained": "cosine"}, {}, "noise schedule is another one"),
        ("grey", {"range": (0, 1)}, {}, "give --range=0,1"),
        ("grey", {}, {"range": (0, 1)}, "loss on the members"),
        pytest.param("colour", {"flip": True}, {}, "reverse order", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_is_set_up_wrong_is_refused_before_any_attack(
    audit, optimal, monkeypatch, kind, settings, options, said
):
    monkeypatch.setattr("mibench.auditing.run.measure", None)
    with pytest.raises(UsageError, match="loading check: .*" + said):
        audit(optimal(kind, **settings), kind, **options)


def _noise(image):
    values = np.asarray(image) + np.random.default_rng(1).normal(0, 3, np.asarray(image).shape)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "name", "options"),
    [
        (lambda image: image.resize((16, 16), Image.Resampling.BICUBIC), "jpg", {"quality": 60}),
        (lambda image: image.filter(ImageFilter.GaussianBlur(0.6)), "png", {}),
        (lambda image: image.resize((24, 24), Image.Resampling.NEAREST), "png", {}),
        (_noise, "png", {}),
    ],
    ids=["jpeg", "blur", "size", "noise"],
)
def test_files_of_another_making_are_told_in_the_headline(audit, optimal, pictures, tmp_path, spoil, name, options):
    save(pictures.grey[64:224], tmp_path / "spoilt", spoil, name, **options)
    found, _ = audit(optimal(folder="elsewhere", blur=0.4), nonmembers=tmp_path / "spoilt")
    assert found.verdict == "split" and "no evidence" in found.headline and "blind" in found.headline


@pytest.mark.slow
def test_sound_input_is_neither_refused_nor_called_unsound(audit, optimal):
    for seed in range(10):
        found, _ = audit(optimal(), seed=seed)
        assert found.verdict == "leaks"


def _doubled(digits, tmp_path):
    (tmp_path / "double").symlink_to(digits / "grey" / "members")
    return {"nonmembers": tmp_path / "double"}


def _few(digits, tmp_path):
    (tmp_path / "few").mkdir()
    return {"members": tmp_path / "few"}


def _made(path, network):
    name = path / f"made-{len(list(path.iterdir()))}.py"
    last = f"def other():\n    return mibench.Checkpoint({network}, levels('linear'), 'epsilon', (1, 8, 8))\n"
    name.write_text((path / "model.py").read_text() + last)
    return f"{name}:other"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (_doubled, "is the same file as .* of --members"),
        (_few, "holds no file that images reads"),
        (lambda digits, path: {"limit": 40}, "50 must be left to evaluate on"),
        (lambda digits, path: {"members": path / "none"}, "there is no folder or archive"),
        (lambda digits, path: {"data": "music"}, "files are read as"),
        (lambda digits, path: {"data": "images:size=16"}, r"samples of shape \(1, 16, 16\)"),
        (lambda digits, path: {"attacks": ("rmia",)}, "its training is not known"),
        (lambda digits, path: {"attacks": ("blind",)}, "never sees the model"),
        (lambda digits, path: {"attacks": ("pya",)}, "did you mean 'pia'"),
        (lambda digits, path: {"model": str(path / "gone.py:make")}, "there is no file"),
        (lambda digits, path: {"model": str(path / "gone")}, "there is no folder"),
        (lambda digits, path: {"model": str(path / "model.py:built")}, "no function 'built'; it has .*make"),
        (lambda digits, path: {"model": str(path / "model.py:levels")}, "levels fails: TypeError"),
        (lambda digits, path: {"data": "images:path=x"}, "leave out path; --members"),
        (lambda digits, path: {"out": path / "model.py" / "x"}, "--out .* cannot be written"),
        (
            lambda digits, path: {"model": _made(path, "nn.Conv2d(3, 3, 1)")},
            r"fails on a sample of shape \(1, 1, 8, 8\)",
        ),
        (lambda digits, path: {"model": _made(path, "lambda x, t: x[:, :, 1:]")}, r"with \(1, 1, 7, 8\)"),
        (lambda digits, path: {"model": _made(path, "lambda x, t: x * np.nan")}, "the loss on the members is nan"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(audit, optimal, digits, tmp_path, options, said):
    given = {"model": optimal()} | options(digits, tmp_path)
    with pytest.raises(UsageError, match=said) as error:
        audit(given.pop("model"), **given)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_named(audit, optimal, pictures, tmp_path):
    save(pictures.grey[:64], tmp_path / "members")
    (tmp_path / "members" / "0007.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"0007\.png is no image"):
        audit(optimal(), members=tmp_path / "members")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--range", "1"], "--range '1': give two numbers such as 0,1"),
        (["--range", "1,0"], "--range: the value of black must be below"),
        (["--limit", "0"], "--limit: must be at least 1"),
        (["--range", "0,1", "--normalisation", "0,1"], "give one of the two"),
    ],
)
def test_wrong_options_are_named_as_on_the_command_line(cli, flags, said):
    code, _, err = cli("audit", "model", "--members", "a", "--nonmembers", "b", *flags)
    assert code == 2 and said in err


@pytest.mark.slow
def test_the_command_and_the_function_run_in_a_process_of_their_own(optimal, digits, tmp_path, cli):
    model = optimal()
    sides = {"members": digits / "grey" / "members", "nonmembers": digits / "grey" / "others"}
    found = mibench.audit(model, **sides, attacks=["pia"], controls=False, samples=10, out=tmp_path / "one")
    assert found.verdict == "leaks" and len(found.records) == 4
    source = (tmp_path / "model.py").read_text()
    for broken, said in (
        ("import os; os._exit(3)", "with 3"),
        ("import sys; sys.exit(1)", "SystemExit"),
        ("1 / 0", "division"),
    ):
        (tmp_path / "model.py").write_text(f"{source}\n\ndef broken():\n    {broken}\n")
        flags = [f"--{name}={path}" for name, path in sides.items()]
        code, out, err = cli("audit", f"{tmp_path / 'model.py'}:broken", *flags, "--out", tmp_path / "two")
        assert code and not out and said in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when it next says something")
def test_the_process_of_an_audit_ends_with_the_command(optimal, digits, tmp_path, number):
    model = optimal()
    (tmp_path / "model.py").write_text(
        (tmp_path / "model.py").read_text()
        + "\ndef hangs():\n    import os, time\n    Path('worker').write_text(str(os.getpid()))\n    time.sleep(60)\n"
    )
    flags = [f"--members={digits / 'grey' / 'members'}", f"--nonmembers={digits / 'grey' / 'others'}"]
    command = [sys.executable, "-m", "mibench", "audit", model.replace(":make", ":hangs"), *flags]
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    until(lambda: (tmp_path / "worker").exists() and (tmp_path / "worker").read_text())
    worker = psutil.Process(int((tmp_path / "worker").read_text()))
    driver.send_signal(number)
    assert driver.wait(10) == -number
    worker.wait(10)


@pytest.mark.slow
def test_nothing_is_asked_of_a_network(tmp_path, digits, audit, monkeypatch):
    from test_levels import tiny

    def closed(*given, **options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", closed)
    monkeypatch.setattr(socket, "create_connection", closed)
    tiny(tmp_path / "made", channels=1, size=8)
    with pytest.raises(UsageError, match="loading check"):  # its weights are random
        audit(str(tmp_path / "made"))


def test_help_needs_no_torch():
    code = "import sys; from mibench.cli import main; main(['audit', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_weights_that_a_function_holds_count(optimal, tmp_path):
    optimal()
    model = _made(tmp_path, "lambda x, t: x * float(Path(__file__).with_name('weights').read_text())")
    settings = AuditSettings(model=model, members=tmp_path, nonmembers=tmp_path)
    digests = set()
    for weight in ("0.5", "0.6", "0.5"):
        (tmp_path / "weights").write_text(weight)
        digests.add(open_given(settings).spec()["options"]["model"])
    assert len(digests) == 2


def test_the_time_left_is_told_after_the_first_batch_that_is_scored(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr("mibench.auditing.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = _Clock("the model", 2, said.append, lambda *done: None)
    clock.begin(0)
    now[0] = 100.0  # what attacks learn before does not count, nor the batches that an earlier run has scored
    for done in range(7, 13):
        clock.begin(done % 2)
        now[0] += 5
        clock.progress(done, 20)
    goes_on, left = (
        "scoring the model goes on after batch 3 of 10",
        "scoring the model takes about 60 s more (6 batches)",
    )
    assert said == [goes_on, left]
