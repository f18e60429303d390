"""The errors that reach a user: one clear line and an exit code, never a traceback."""

__all__ = ["Diverged", "MibenchError", "NotApplicable", "UsageError"]


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
