"""Whatever a command line, a suite or a record holds: no traceback, exit code 0, 1 or 2, and short lines."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mibench.cli import main
from mibench.cli.__init__ import COMMANDS
from mibench.results.record import canonical, digest_of

BOARD = Path(__file__).parent.parent / "leaderboards" / "quick"
SUITE = """
title = "Board"
datasets = ["digits"]
defenses = ["vp", "hold:order=2,aux_variance=0.08"]
attacks = ["pia", "secmi:steps=10"]
seeds = [0, 1]
checkpoints = [0.1]
[recipe.digits]
steps = 2000
learning_rate = 1e-3
[utility]
samples = 1000
method = "multistep"
"""
WORDS = [
    "",
    " ",
    "-",
    "--",
    "nan",
    "-inf",
    "1e999",
    "-1",
    "0",
    "9" * 400,
    "9" * 5000,
    "1e-400",
    "0x10",
    "true",
    "null",
    "[",
    "[1,",
    "[[[[1]]]]",
    "[" * 5000,
    "{}",
    "a,b",
    "a=b",
    "=",
    ":",
    "+",
    "vp+",
    "+filter",
    "pia+filter+filter",
    "hold99",
    "hold-3",
    "hold²",
    "vp:",
    "vp:=",
    "vp:a",
    "vp:t_min=nan",
    "vp:t_min=[0.1]",
    "hold:order=1e3",
    "hold:order=3,order=4",
    "pia:times=[0.1,0.2",
    "pia:times=[]",
    "pia:times=[NaN]",
    "pia:times=[1e999]",
    "pia:p=99999999999999999999999",
    "digits:members=10000000",
    "swiss-roll:members=-3",
    "images:path=/",
    "images:path=/nowhere",
    "speech:path=\0",
    "cifar10:path=/proc",
    "ljspeech",
    "steps=1,steps=2",
    "network=unet",
    "width=-3",
    "/",
    "/proc/self/mem",
    "/dev/null",
    "/dev/null/x",
    ".",
    "..",
    "~",
    "\0",
    "a\0b",
    "\x1b[2J",
    "\r\n\t",
    "\ud800",
    "\udcff\udc80",
    "é" * 200,
    "\u202e",
    "𝟙",
    "😀",
    "%s%n{}",
    "x" * 4000,
]
word = st.one_of(st.sampled_from(WORDS), st.text(max_size=20), st.integers().map(str), st.floats().map(str))


@st.composite
def hurt(draw, text):
    """A text with some of its characters taken out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 1, 2, 5, 40])))
        text = text[:start] + draw(st.one_of(word, st.just(""), st.just(text[start:end] * 2))) + text[end:]
    return text


FLAGS = {
    "run": [
        "defense",
        "attack",
        "dataset",
        "seed",
        "model",
        "recipe",
        "samples",
        "record",
        "dry-run",
        "quiet",
        "json",
        "workers",
        "device",
        "store",
        "plugin",
    ],
    "status": ["cells", "json", "store", "plugin"],
    "ls": ["json", "plugin"],
    "plugins": ["json", "plugin"],
    "export": ["format", "out", "all", "plugin"],
    "completion": ["help", "names"],
    "leaderboard": ["check"],
    "validate": ["plugin"],
    "upgrade": ["check"],
    "bound": ["defense", "option", "orders", "diameter", "alpha", "delta", "times", "plot"],
    "samples": ["out", "store", "plugin"],
}
FINE = {
    "defense": ["vp", "hold3", "vp,ve hold:order=3,aux_variance=2"],
    "attack": ["pia", "secmi+filter", "pia:times=[0.1,0.2]"],
    "dataset": ["digits", "swiss-roll:members=20"],
    "seed": ["0"],
    "recipe": ["steps=20,width=16"],
    "samples": ["100"],
    "orders": ["1,2"],
    "option": ["aux_variance=2"],
}


@st.composite
def lines(draw):
    """A command line: sound and broken words for the flags of a command."""
    command = draw(st.one_of(st.sampled_from(sorted(COMMANDS)), word))
    flags = FLAGS.get(command, ["store"])
    argv = [command]
    if command in ("run", "bound"):  # so that most get past what is asked for first
        argv += ["--defense", "vp"] + (["--attack", "pia"] if command == "run" else [])
    for _ in range(draw(st.integers(0, 4))):
        flag = draw(st.one_of(st.sampled_from(flags), st.sampled_from(["", "help", "nonsense", "version"])))
        fine = FINE.get(flag, ["x"])
        value = draw(st.one_of(word, st.sampled_from(fine), st.sampled_from(fine).flatmap(hurt)))
        argv += draw(st.sampled_from([[f"--{flag}", value], [f"--{flag}={value}"], [value], [f"--{flag}"]]))
    return argv


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    word,
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.just({"": None}),
    st.just(10**400),
)


@st.composite
def changed(draw, value):
    """A JSON value with one of its parts replaced, dropped or joined by another."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 5)) == 0:
        return draw(odd)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        inner = draw(st.one_of(st.just([]), changed(value[place]).map(lambda x: [x])))
        return [*value[:place], *inner, *value[place + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    how = draw(st.sampled_from(["drop", "rename", "change", "change", "change"]))
    rest = {name: part for name, part in value.items() if name != key}
    if how == "drop":
        return rest
    return rest | ({draw(word): value[key]} if how == "rename" else {key: draw(changed(value[key]))})


@st.composite
def records(draw, text):
    """The bytes of a record, hurt as text or as JSON, its digest right or wrong."""
    if draw(st.integers(0, 3)) == 0:
        raw = draw(hurt(text)).encode("utf-8", "surrogatepass")
        return draw(st.sampled_from([raw, b"\xef\xbb\xbf" + raw, raw[: len(raw) // 2], b"\xff" + raw, b"[" * 5000]))
    record = draw(changed(json.loads(text)))
    if isinstance(record, dict) and draw(st.booleans()):
        with contextlib.suppress(ValueError, UnicodeEncodeError):  # NaN, surrogates
            record["digest"] = digest_of({name: part for name, part in record.items() if name != "digest"})
    return json.dumps(record).encode()


def call(*argv):
    """Run the command line in this process; its exit code, after its manners are checked."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        code = main([str(part) for part in argv])
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    assert code in (0, 1, 2), f"{argv}: exit code {code}"
    assert "Traceback" not in out + err
    assert all(len(line) < 300 for line in err.splitlines()), f"{argv}: {err}"
    if code == 2:
        assert err.count("\n") == 1 or not err, f"{argv}: {err}"
    return code, out, err


def attempts(examples, strategy, check):
    """Check that many examples."""
    how = settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )

    def attempt(example):
        check(example)

    how(given(strategy)(attempt))()


@pytest.fixture
def nothing_runs(tmp_path, monkeypatch):
    """An empty folder, and an engine that does nothing."""
    from mibench.jobs import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "Scheduler", lambda *args: SimpleNamespace(run=dict))


some = pytest.mark.parametrize("examples", [20, pytest.param(250, marks=pytest.mark.slow)])


@some
@pytest.mark.usefixtures("nothing_runs")
def test_command_lines(examples):
    attempts(examples, lines(), lambda argv: call(*argv))


@some
@pytest.mark.usefixtures("nothing_runs")
def test_option_strings(examples):
    kinds = st.sampled_from(["defense", "attack", "dataset", "recipe"])
    options = kinds.flatmap(lambda kind: st.tuples(st.just(kind), st.sampled_from(FINE[kind]).flatmap(hurt)))

    def check(option):
        known = {"defense": "vp", "attack": "pia"} | {option[0]: option[1]}
        call("run", *(word for kind, text in known.items() for word in (f"--{kind}={text}",)))

    attempts(examples, options, check)


@some
def test_suites(examples, tmp_path):
    path = tmp_path / "suite.toml"

    def check(text):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        for command in ("status", "leaderboard", "validate"):
            call(command, tmp_path)

    attempts(examples, hurt(SUITE), check)


@some
@pytest.mark.parametrize("name", ["pia-s0", "utility-s0"])
def test_records(examples, name, tmp_path):
    source = BOARD / "records" / "digits" / "vp"
    target = tmp_path / "records" / "digits" / "vp"
    target.mkdir(parents=True)
    for other in ("pia-s0", "loss-s0", "utility-s0"):
        shutil.copy(source / f"{other}.json", target)
    suite = 'datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["pia", "loss"]\ncontrols = false\n'
    (tmp_path / "suite.toml").write_text(suite)
    path = target / f"{name}.json"
    text = path.read_text()
    assert canonical(json.loads(text))
    assert call("validate", tmp_path)[0] == call("leaderboard", tmp_path)[0] == 0

    def check(raw):
        path.write_bytes(raw)
        sound = call("validate", tmp_path)[0] == 0
        shown = call("leaderboard", tmp_path)[0] == 0
        assert shown or not sound, "what validate lets pass cannot be shown"
        call("status", tmp_path)
        call("upgrade", tmp_path, "--check")

    attempts(examples // 2, records(text), check)


@pytest.mark.parametrize("command", ["status", "leaderboard", "validate", "run"])
def test_folders_where_files_belong(command, tmp_path):
    (tmp_path / "suite.toml").mkdir()
    assert call(command, tmp_path)[0] == 2
    (tmp_path / "suite.toml").rmdir()
    (tmp_path / "suite.toml").write_text('datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["pia"]\n')
    (tmp_path / "records" / "digits" / "vp" / "pia-s0.json").mkdir(parents=True)
    code, out, err = call(command, tmp_path)
    assert command == "status" or code == 1
    assert "pia-s0.json" in out + err
