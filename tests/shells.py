"""Interactive shells that are driven as a person does: keys are typed into a terminal, and the line is read back."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Shell", "fish"]

SETUP = {"bash": ".bashrc", "zsh": ".zshrc"}
COMMAND = {
    "bash": ["bash", "--noprofile", "--rcfile", "{home}/.bashrc", "-i"],
    "zsh": ["zsh", "--no-global-rcs", "-i"],
}
"""It reads no settings but ours."""

SHOW = {
    "bash": """bind 'set bell-style none'
show() {{ printf '%s' "$READLINE_LINE" > {line}.part; mv {line}.part {line}; }}
bind -x '"\\C-x\\C-y": show'
""",
    "zsh": """show() {{ print -rn -- "$BUFFER" > {line}.part; mv {line}.part {line} }}
zle -N show
bindkey '^X^Y' show
""",
}
"""Ctrl-X Ctrl-Y writes the line to a file."""

PROMPT = "ready> "
PATIENCE = 60.0
"""Seconds after which a shell that does not answer is a fault."""


class Shell:
    """bash or zsh in a pseudo-terminal.

    Args:
        name: "bash" or "zsh".
        script: what it reads when it starts.
        home: an empty folder.
        folder: where it runs.
        environment: its variables.
    """

    def __init__(self, name: str, script: str, home: Path, folder: Path, environment: dict[str, str]) -> None:
        self._line = home / "line"
        (home / SETUP[name]).write_text(f"PS1='{PROMPT}'\n{script}{SHOW[name].format(line=self._line)}")
        command = [word.format(home=home) for word in COMMAND[name]]
        variables = environment | {"HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm", "HISTFILE": ""}
        self._terminal, other = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, cwd=folder, env=variables, start_new_session=True
        )
        os.close(other)
        self._printed = b""

    def __enter__(self) -> Shell:
        self._read_until(lambda: PROMPT.encode() in self._printed)
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def complete(self, line: str) -> str:
        """What the line is after it is typed and followed by the tabulator."""
        self._line.unlink(missing_ok=True)
        os.write(self._terminal, line.encode() + b"\t\x18\x19")
        self._read_until(self._line.exists)
        os.write(self._terminal, b"\x15")  # Ctrl-U empties the line
        return self._line.read_text()

    def _read_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end and self._process.poll() is None, self._printed.decode(errors="replace")
            if select.select([self._terminal], [], [], 0.02)[0]:
                self._printed += os.read(self._terminal, 65536)


def fish(script: Path, line: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """The words that fish offers at the end of a line, without their descriptions."""
    command = ["fish", "--no-config", "--command", f"source {script}; complete --do-complete '{line}'"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]
