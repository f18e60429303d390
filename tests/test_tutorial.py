"""docs/tutorial.md: every file in it is written and every command run, in order, in one empty folder."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from pages import blocks

from mibench.cli import main


def call(command, capsys):
    """The exit code and all output of a command, run in this process, which has torch already."""
    program, *words = shlex.split(command)
    if program == "python":
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    else:
        assert program == "mibench"
        code = main(words)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def masked(text):
    """Text without its figures, which differ between machines."""
    return re.sub(r"\d[\d.]*", "#", text)


@pytest.mark.slow
def test_the_tutorial_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran = 0
    for block in blocks("tutorial.md"):
        if block["file"]:
            path = Path(block["file"])
            path.parent.mkdir(exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
        elif block["kind"] == "console":
            for step in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                command, _, expected = step.partition("\n")
                code, output = call(command, capsys)
                assert code == 0, f"{command}\n{output}"
                for line in expected.splitlines():
                    assert masked(line.partition("…")[0].strip()) in masked(output), f"{command}\n{output}"
                ran += 1
    assert ran == 8
    assert {"my_attack.py", "my_defense.py", "my_measure.py", "look.py", "board"} <= {
        path.name for path in tmp_path.iterdir()
    }
    page = (tmp_path / "board" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\| `mixup` [^|]*† +\| +\*\*\.", page) and re.search(r"\| `vp\+grain` [^|]*† +\| +\*\*\.", page)
