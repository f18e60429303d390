"""The template: built as a wheel's content, installed beside mibench, found, run, broken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[1] / "plugins" / "template"


@pytest.fixture
def installed(tmp_path):
    """Install the template into a folder of its own, as pip would; returns the environment that sees it."""
    site = tmp_path / "site"
    source = tmp_path / "template"
    shutil.copytree(TEMPLATE, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        site,
        source,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site, os.environ | {"PYTHONPATH": str(site)}


def mibench(environment, *argv):
    command = [sys.executable, "-m", "mibench", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_the_template_is_found_run_and_when_broken_costs_nobody(installed):
    site, environment = installed
    listed = mibench(environment, "plugins")
    assert listed.returncode == 0
    assert "template (mibench-template 0.1.0): defense input-noise, attack first-answer" in listed.stdout

    data = "digits:members=20,nonmembers=40,reference=200"
    recipe = "steps=30,width=32,depth=1"
    suite = site.parent / "suite"
    suite.mkdir()
    content = f'datasets = ["{data}"]\ndefenses = ["vp"]\nattacks = ["pia"]\ncontrols = false\nutility.samples = 100\n'
    (suite / "suite.toml").write_text(content + "recipe.digits = {steps = 30, width = 32, depth = 1}\n")
    done = mibench(environment, "run", suite, "--defense", "input-noise:scale=0.3", "--attack", "first-answer")
    assert done.returncode == 0 and "6 of 6 cells done" in done.stdout, done.stderr
    assert mibench(environment, "leaderboard", suite).returncode == 0
    page = (suite / "README.md").read_text()
    assert (
        "2 of 2 cells are done." in page
        and "\n| `input-noise:scale=0.3`[^1] " in page
        and "| `first-answer`[^1] | " in page
    )

    module = site / "mibench_template" / "__init__.py"
    module.write_text("import a_module_that_is_not_there\n")
    broken = mibench(environment, "plugins")
    assert broken.returncode == 1 and "BROKEN" in broken.stdout and "a_module_that_is_not_there" in broken.stdout
    other = mibench(
        environment,
        "run",
        "--defense",
        "vp",
        "--attack",
        "pia",
        "--dataset",
        data,
        "--recipe",
        recipe,
        "--samples",
        100,
    )
    assert other.returncode == 0, other.stderr
    lost = mibench(environment, "run", "--defense", "vp", "--attack", "first-answer")
    assert lost.returncode == 2 and "unknown attack 'first-answer'" in lost.stderr and "mibench plugins" in lost.stderr
