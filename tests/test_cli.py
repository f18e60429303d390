"""The command line: help is light, mistakes get one line and exit code 2."""

import subprocess
import sys

import pytest

from mibench.cli import COMMANDS

SUITE = 'datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["pia"]\n'


def test_help_imports_no_library():
    script = (
        "import sys; from mibench.cli import main; main(['--help']);"
        "heavy = {'torch', 'numpy', 'pydantic', 'pluggy', 'scipy', 'sklearn'} & set(sys.modules);"
        "raise SystemExit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "status", "ls", "plugins", "leaderboard", "validate"):
        assert command in done.stdout


def test_every_command_has_help(cli):
    for command in COMMANDS:
        code, out, _ = cli(command, "--help")
        assert code == 0 and "usage: mibench " + command in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["rum"], "did you mean 'run'"),
        (["run"], "--defense and --attack"),
        (["run", "--defense", "vp"], "--defense and --attack"),
        (["run", "--defense", "vq", "--attack", "pia"], "unknown defense 'vq'"),
        (["run", "--defense", "vp,vp", "--attack", "pia"], "listed twice"),
        (["run", "--defense", "vp", "--attack", "pia", "--recipe", "stepz=3"], "did you mean 'steps'"),
        (["run", "--defense", "vp", "--attack", "pia", "--recipe", "steps=0"], "steps"),
        (["run", "--defense", "vp", "--attack", "pia", "--recipe", "augment=turn"], "augment: must be"),
        (
            ["run", "--defense", "vp", "--attack", "pia", "--dataset", "swiss-roll", "--recipe", "augment=flip"],
            "holds points",
        ),
        (["run", "--defense", "vp", "--attack", "pia", "--seed", "-1"], "mibench: seed: must be at least 0"),
        (["run", "--defense", "", "--attack", "pia"], "--defense and --attack"),
        (["run", "--defense", "vp", "--attack", "pia", "--workers", "0"], "--workers 0"),
        (["run", "--defense", "vp", "--attack", "pia", "--samples", "-4"], "mibench: --samples: must be at least 100"),
        (["run", "--defense", "vp", "--attack", "pia", "--model", "best"], "invalid choice"),
        (["run", "nowhere"], "there is no suite 'nowhere'"),
        (["run", "--defense", "vp", "--attack", "pia", "--dataset", "images:path='a b"], "a quote is not closed"),
        (
            ["run", "--defense", "vp", "--attack", "pia", "--dataset", "images:path=a b/c"],
            "goes into quotes of its own",
        ),
        (["run", "quick", "--record", "x.json", "--seed", "1"], "leave out suite, --seed"),
        (
            ["run", "--record", "x.json", "--dry-run", "--again"],
            "makes one cell, whether it is stored or not; leave out --dry-run",
        ),
        (["run", "--record", "nowhere.json"], "there is no record nowhere.json"),
        (["verify", "nowhere.json"], "there is no record nowhere.json"),
        (["ls", "pia", "loss"], "unexpected loss (see mibench ls --help)"),
        (["ls", "pia:q=1"], "unknown option 'q'"),
        (["plugins", "--plugin", "."], "there is no plugin file"),
        (["completion", "tcsh"], "invalid choice"),
        (["export", "--format", "xlsx"], "invalid choice"),
        (["run", "--plugin", "nowhere.py", "--defense", "vp", "--attack", "pia"], "there is no plugin file"),
        (["status", "nowhere"], "there is no suite"),
        (["ls", "hodl"], "did you mean 'hold'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*argv)
    assert code == 2 and message in err
    assert len(err.strip().splitlines()) == 1 and len(err) < 320


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets = [", "not valid TOML"),
        ("", "datasets"),
        (SUITE + "colour = 3", "unknown option 'colour'"),
        (SUITE.replace("attacks", "atacks"), "did you mean 'attacks'"),
        (SUITE.replace('"pia"', "3"), "attacks: must be text"),
        (SUITE + "seeds = [-1]", "seeds"),
        (SUITE + "[recipe.cats]\nsteps = 3", "'cats', which is no dataset"),
        (SUITE + "[recipe.digits]\nsteps = -3", "steps"),
        (SUITE + '[utility]\nsamples = "many"', "utility.samples"),
    ],
)
def test_a_malformed_suite_is_one_line(cli, tmp_path, text, message):
    path = tmp_path / "suite.toml"
    path.write_text(text)
    code, _, err = cli("run", path)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_cuda_without_a_device_is_wrong_usage(cli):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    code, _, err = cli("run", "--defense", "vp", "--attack", "pia", "--device", "cuda")
    assert code == 2 and "--device cuda" in err


def test_ls_shows_options(cli):
    code, out, _ = cli("ls", "defenses")
    assert code == 0 and "holdN sets order" in out and "aux_variance=0.08" in out and "attacks" not in out.split()


def test_boards_need_no_plugin(tmp_path):
    """With every entry point broken, leaderboard and validate still work."""
    script = (
        "import importlib.metadata as m\n"
        "real = m.entry_points\n"
        "m.entry_points = lambda **k: [m.EntryPoint('bad', 'no_such_module', 'mibench')]\n"
        "from mibench.cli import main\n"
        f"codes = [main(['leaderboard', r'{tmp_path}']), main(['validate', r'{tmp_path}'])]\n"
        "raise SystemExit(max(codes))"
    )
    (tmp_path / "suite.toml").write_text(SUITE)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "README.md").exists()


@pytest.mark.parametrize("flag", ["--dataset", "--seed", "--model", "--recipe", "--samples"])
def test_what_a_suite_says_of_all_cells_cannot_be_given_beside_it(cli, tmp_path, flag):
    (tmp_path / "suite.toml").write_text('datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["pia"]\n')
    values = {"--seed": "0", "--model": "exact", "--recipe": "steps=3", "--samples": "100"}
    code, _, err = cli("run", tmp_path, "--attack", "loss", flag, values.get(flag, "digits"))
    assert code == 2 and f"{flag} cannot be given beside it, only --defense and --attack" in err


def test_bound_prints_and_plots(cli, tmp_path):
    picture = tmp_path / "bound.png"
    code, out, _ = cli(
        "bound", "--defense", "hold3", "--option", "epsilon_num=1e-3", "--orders", "1,3", "--plot", picture
    )
    assert code == 0 and picture.stat().st_size > 10_000
    assert "hold1:epsilon_num=0.001" in out and "hold3:epsilon_num=0.001" in out
    assert "Δ²/ε_num = 1000" in out and "does not cover" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["vp", "--orders", "2"], "vp has no orders"),
        (["hold2", "--orders", "x"], "whole numbers"),
        (["hold2", "--alpha", "1"], "--alpha 1.0 is out of range"),
        (["hold2", "--delta", "0"], "--delta 0.0 is out of range"),
        (["hold2", "--diameter", "nan"], "--diameter nan is out of range"),
        (["hold2", "--option", "epsilon_num=-1"], "epsilon_num"),
        (["hold2", "--orders", "11"], "order"),
        (["hold2:horizon=1000"], "the horizon is too long"),
    ],
)
def test_bound_refuses(cli, words, reason):
    code, _, err = cli("bound", "--defense", *words)
    assert code == 2 and reason in err and err.count("\n") == 1
