"""``mibench`` in a process of its own."""

import signal
import subprocess
import sys
from typing import NamedTuple


class Result(NamedTuple):
    """What a command has answered."""

    code: int
    out: str
    err: str


def apart(*argv, **more):
    """Run ``mibench`` in a process of its own."""
    command = [sys.executable, "-m", "mibench", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **more)
    assert "Traceback" not in done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def begin(*argv):
    """Start ``mibench`` in a process of its own, which heeds Ctrl-C even where this one was told to ignore it."""

    def heed():
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = [sys.executable, "-m", "mibench", *map(str, argv)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed)
