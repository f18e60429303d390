"""The errors that reach a user: one clear line and an exit code, never a traceback."""

__all__ = ["Diverged", "MibenchError", "NotApplicable", "Stopped", "UsageError", "one_line"]

LONGEST = 280


class MibenchError(Exception):
    """Something failed; the message says what and what to do (exit code 1)."""

    exit_code = 1


class UsageError(MibenchError):
    """The command, name or option was wrong; the message names it and the remedy (exit code 2)."""

    exit_code = 2


class NotApplicable(MibenchError):
    """This attack cannot work on this model; the message is the reason that the board shows as n/a."""


class Diverged(MibenchError):
    """A state or score left the finite numbers.

    Args:
        sample: its place in the batch.
        t: the time.
    """

    def __init__(self, sample: int, t: float) -> None:
        super().__init__(f"sample {sample} leaves the finite numbers at t = {t:g}")
        self.sample, self.t = sample, t


class Stopped(MibenchError):
    """A run was stopped before its end; the exit code is that of a process that a signal has ended.

    Args:
        signal: its number, 0 for Ctrl-C.
    """

    def __init__(self, signal: int) -> None:
        super().__init__("stopped before the end; run the same command again to resume")
        self.exit_code = 128 + (signal or 2)


def one_line(text: object) -> str:
    """What an error says, on one line that every terminal can show; a long one keeps its ends.

    The beginning names what is wrong and the end what to do; what stands between may be of any length and come from anywhere.
    """
    words = " ".join(str(text).split())
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)
    if len(clean) <= LONGEST:
        return clean
    return f"{clean[: LONGEST * 2 // 3]} … {clean[-LONGEST // 3 + 3 :]}"
