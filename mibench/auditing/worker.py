"""The process of an audit, apart from the one that asks for it: ``python -m mibench.auditing.worker FD PARENT``.

It reads its settings as JSON from standard input, and writes a JSON object a line to the pipe with this number: what it says,
how far it is, and at last the folder of the report or the error. What a model's own code prints does not get in between. It ends
with its parent.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from mibench.auditing.settings import AuditSettings
from mibench.errors import MibenchError, one_line
from mibench.jobs.parent import end_with

__all__ = ["main"]


def main(pipe: int) -> None:
    """Do the audit."""
    settings = AuditSettings.model_validate_json(sys.stdin.read())
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    own = os.getpid()

    def send(**message: Any) -> None:
        raw = (json.dumps(message) + "\n").encode()
        while raw and os.getpid() == own:
            raw = raw[os.write(pipe, raw) :]

    def progress(stage: str, done: int, total: int) -> None:
        send(stage=stage, done=done, total=total)

    try:
        import torch

        from mibench.auditing.run import run_audit
        from mibench.evaluate import scoring
        from mibench.evaluate.backends import choose_device, set_backends

        threads = settings.threads or torch.get_num_threads()
        set_backends(choose_device(settings.device))
        torch.set_num_threads(threads)
        scoring.BATCH = settings.batch
        send(folder=str(run_audit(settings, lambda line: send(say=line), progress)))
    except MibenchError as error:
        if error.__cause__:
            traceback.print_exception(error.__cause__)
        send(error=one_line(error), code=error.exit_code)
    except BaseException as error:
        traceback.print_exception(error)
        send(error=one_line(f"{type(error).__name__}: {error}"), code=1)


if __name__ == "__main__" and end_with(int(sys.argv[2])):
    main(int(sys.argv[1]))
