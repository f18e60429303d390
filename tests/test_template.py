"""The template: installed by pip beside mibench, checked, tested, run to its board, broken."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks

TEMPLATE = Path(__file__).parents[1] / "plugins" / "template"
PYTHON = [sys.executable, "-m"]
INSTALL = [*PYTHON, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", "site"]


class Shell:
    """A folder in which the commands of the documents run, with packages installed into a folder of it."""

    def __init__(self, folder):
        self.folder = folder
        paths = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def __call__(self, command):
        """The exit code, standard output and standard error of a command."""
        words = [
            word.replace("path/to/the/repository/plugins/template", str(TEMPLATE)) for word in shlex.split(command)
        ]
        head = {("pip", "install"): INSTALL, ("mibench",): [*PYTHON, "mibench"], ("pytest",): [*PYTHON, "pytest"]}
        for known, instead in head.items():
            if tuple(words[: len(known)]) == known:
                words = instead + words[len(known) :]
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with the template installed, as pip does it."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(TEMPLATE, folder / "my-methods", ignore=shutil.ignore_patterns("__pycache__"))
    code, _, err = Shell(folder)("pip install ./my-methods")
    assert code == 0, err
    return folder


@pytest.mark.slow
def test_its_tests_pass_and_it_is_sound(template):
    code, out, _ = Shell(template)("pytest -q -p no:cacheprovider my-methods/tests")
    assert code == 0 and "4 passed" in out, out


@pytest.mark.slow
def test_a_broken_package_costs_nobody_else(template, tmp_path):
    shutil.copytree(template / "site", tmp_path / "site")
    shell = Shell(tmp_path)
    code, out, _ = shell("mibench plugins")
    assert code == 0
    offers = "dataset rings, defense input-noise, measure random-sign, attack first-answer"
    assert f"template (mibench-template 0.1.0): {offers}" in out
    (tmp_path / "site" / "mibench_template" / "__init__.py").write_text("import a_module_that_is_not_there\n")
    code, out, _ = shell("mibench plugins")
    assert code == 1 and "BROKEN" in out and "a_module_that_is_not_there" in out and "defense vp" in out
    code, out, _ = shell("mibench check mibench-template")
    assert code == 1 and "wrong  plugin template" in out
    code, _, err = shell("mibench run --defense vp --attack first-answer")
    assert code == 2 and "unknown attack 'first-answer'" in err and "mibench plugins" in err


@pytest.mark.slow
def test_from_pip_install_to_a_row_on_a_board(tmp_path):
    """The commands of the tutorial, from its section on packages."""
    shell, ran = Shell(tmp_path), []
    text = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
    start = re.search(r"^## \d+\. A package$", text, re.MULTILINE).start()
    for block in blocks("tutorial.md"):
        if block.start() < start:
            continue
        if block["file"]:
            path = tmp_path / block["file"]
            path.parent.mkdir()
            path.write_text(block["text"], encoding="utf-8")
        elif block["kind"] == "sh":
            for command in block["text"].splitlines():
                code, out, err = shell(command)
                assert code == 0, f"{command}\n{out}{err}"
                ran.append(command)
                assert "sound; a board can show it" in out or not command.startswith("mibench check")
    assert [command.split()[0] for command in ran] == ["cp", "pip", *["mibench"] * 4]
    page = (tmp_path / "packaged" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\| `input-noise` .*\*\*\.\d", page, re.MULTILINE), page
    assert "mibench-template 0.1.0 (attack first-answer, dataset rings, defense input-noise)" in page
    record = next((tmp_path / "packaged" / "records").rglob("first-answer-s0.json")).read_text()
    assert '"attack": "mibench-template 0.1.0"' in record
