"""Starts the process of an audit, and passes on what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from mibench.auditing.result import Audit
from mibench.auditing.settings import AuditSettings
from mibench.errors import MibenchError, UsageError

__all__ = ["audit_apart"]


def audit_apart(
    settings: AuditSettings, say: Callable[[str], None], progress: Callable[[str, int, int], None]
) -> Audit:
    """Do an audit in a process of its own, which ends with this call.

    Args:
        settings: what to do; relative paths are of the present folder.
        say: takes a line for the user.
        progress: takes a stage, the steps done and the steps in all.

    Raises:
        UsageError: where the model or the files are not what they should be.
        MibenchError: where the audit fails, or its process ends without a word.
    """
    readable, writable = os.pipe()
    with NamedTemporaryFile("w+", prefix="mibench-audit-", suffix=".log", delete=False) as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "mibench.auditing.worker", str(writable), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[writable],
            text=True,
        )
        os.close(writable)
        ended: dict[str, object] = {}
        try:
            assert child.stdin
            with suppress(BrokenPipeError):  # it has ended already, and its log says why
                child.stdin.write(settings.model_dump_json())
                child.stdin.close()
            with os.fdopen(readable, encoding="utf-8") as lines:
                for message in map(json.loads, lines):
                    if "say" in message:
                        say(message["say"])
                    elif "stage" in message:
                        progress(message["stage"], message["done"], message["total"])
                    else:
                        ended = message
                        break
            child.wait()
        finally:
            child.kill()
            child.wait()
    if "folder" in ended or ended.get("code") == UsageError.exit_code:
        Path(log.name).unlink(missing_ok=True)
    if "folder" in ended:
        return Audit.read(Path(str(ended["folder"])))
    if "error" in ended:
        if ended["code"] == UsageError.exit_code:
            raise UsageError(str(ended["error"]))
        raise MibenchError(f"{ended['error']} (log: {log.name})")
    raise MibenchError(f"the process of the audit ended without a result, with {child.returncode} (log: {log.name})")
