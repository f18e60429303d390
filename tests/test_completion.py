"""Completion in real shells, and the names that it reads from the source of plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shells import Shell, fish
from third_party import Package

from mibench.cli import COMMANDS
from mibench.cli.component_names import component_names
from mibench.plugins import load

LINES = {
    "mibench ver": "mibench verify ",
    "mibench --vers": "mibench --version ",
    "mibench run qu": "mibench run quick ",
    "mibench run images/s": "mibench run images/small ",
    "mibench run quick --dry": "mibench run quick --dry-run ",
    "mibench verify --qu": "mibench verify --quiet ",
    "mibench run --model ex": "mibench run --model exact ",
    "mibench run --model=ex": "mibench run --model=exact ",
    "mibench run --plugin mine": "mibench run --plugin mine.py ",
    "mibench completion f": "mibench completion fish ",
    "mibench run --defense ho": "mibench run --defense hold ",
    "mibench run --dataset=sw": "mibench run --dataset=swiss-roll ",
    "mibench run --plugin mine.py --attack gue": "mibench run --plugin mine.py --attack guess ",
    "mibench ls att": "mibench ls attacks ",
    "mibench ls secm": "mibench ls secmi ",
}
"""What is typed before the tabulator, and what the line is afterwards."""

MINE = '''import mibench
from mibench import Attack as Base, Defense
from nowhere import nothing

class Guess(mibench.Attack):
    name = "guess"

class Better(Guess):
    name: str = "better"

class Abstract(Defense):
    """Without a name."""

class Own(Abstract):
    name = "own"

class Other:
    name = "other"
'''


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with suites and a loose plugin."""
    for name in ("quick", "images/small"):
        (tmp_path / "work" / "leaderboards" / name).mkdir(parents=True)
        (tmp_path / "work" / "leaderboards" / name / "suite.toml").touch()
    (tmp_path / "work" / "mine.py").write_text(MINE)
    return tmp_path / "work"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a command ``mibench`` that is the one under test."""
    command = tmp_path / "bin" / "mibench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mibench "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_what_is_typed(shell, cli, tmp_path, folder, environment):
    need(shell)
    (tmp_path / "home").mkdir()
    with Shell(shell, cli("completion", shell)[1], tmp_path / "home", folder, environment) as session:
        found = {line: session.complete(line) for line in LINES}
    assert found == LINES


def test_fish_completes_what_is_typed(cli, tmp_path, folder, environment):
    need("fish")
    script = tmp_path / "mibench.fish"
    script.write_text(cli("completion", "fish")[1])
    found = {line: fish(script, line, folder, environment) for line in LINES}
    assert found == {line: [completed.split()[-1]] for line, completed in LINES.items()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_knows_every_command_without_torch(shell):
    script = (
        "import sys; from mibench.cli import main; shell = sys.argv[1];"
        "main(['completion', shell]); main(['completion', shell, '--names', 'all']);"
        "raise SystemExit(bool({'torch', 'numpy', 'pydantic', 'mibench_attacks'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS) and "time-limit" in done.stdout
    assert "loss-vector\n" in done.stdout


def test_the_names_in_the_source_are_those_that_are_registered():
    names = component_names([])
    for kind, components in load().components.items():
        assert names[kind] == sorted(components)


def test_names_of_packages_and_files(package: Package, folder: Path):
    plain = component_names([])
    assert {"calm", "brisk"} <= set(plain["defense"]) and {"direct", "late"} <= set(plain["attack"])
    names = component_names([str(folder / "mine.py"), str(folder / "absent.py"), str(folder)])
    assert {kind: sorted({*names[kind]} - {*plain[kind]}) for kind in names} == {
        "dataset": [],
        "defense": ["own"],
        "measure": [],
        "attack": ["better", "guess"],
    }
    package.remove()
    assert "calm" not in component_names([])["defense"]
