"""What ``mibench run`` shows while it runs: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tqdm import tqdm

from mibench.errors import one_line

if TYPE_CHECKING:
    from mibench.jobs.options import Event

__all__ = ["AuditDisplay", "ProgressDisplay", "duration"]

SHAPE = "{n_fmt}/{total_fmt} cells |{bar}| {elapsed}{postfix}"


class ProgressDisplay:
    """Prints events on standard error; a context manager.

    Args:
        quiet: whether only failures and edited code are shown.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.terminal = quiet, sys.stderr.isatty() and not quiet
        self.bar = tqdm(disable=True)
        self._shown: set[str] = set()

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def on_event(self, event: Event) -> None:
        """Show an event; the same note, or reason of a failure, is shown once."""
        if self.quiet and event.kind not in ("failed", "edited"):
            return
        left = f", {duration(event.seconds_left)} left" if event.seconds_left is not None else ""
        left = left if event.finished < event.total else ""
        if event.kind == "begin":
            self.bar = tqdm(total=event.total, disable=not self.terminal, dynamic_ncols=True, bar_format=SHAPE)
            return
        if event.kind == "progress":
            if event.cell:
                what = "training" if event.message == "models" else "scoring"
                self.bar.set_postfix_str(f"{what} {event.cell.labels['defense']} {event.share:.0%}{left}")
            return
        if event.kind in ("done", "failed"):
            self.bar.update(event.finished - self.bar.n)
        if event.kind in ("note", "failed"):
            if event.message in self._shown:
                return
            self._shown.add(event.message)
        count = "" if self.terminal else f" ({event.finished} of {event.total}{left})"
        with suppress(OSError):  # nobody reads the output any more; the run goes on
            self.bar.write(_line(event, count), file=sys.stderr)


class AuditDisplay:
    """Prints what an audit says on standard error, and a bar on a terminal; a context manager.

    Args:
        quiet: whether nothing is shown.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.terminal = quiet, sys.stderr.isatty() and not quiet
        self.bar = tqdm(disable=True)
        self._stage = ""

    def __enter__(self) -> AuditDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def say(self, line: str) -> None:
        """Show a line."""
        if not self.quiet:
            with suppress(OSError):
                self.bar.write(one_line(line), file=sys.stderr)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if stage != self._stage:
            self.bar.close()
            self._stage = stage
            self.bar = tqdm(total=total, desc=f"attacking {stage}", disable=not self.terminal, leave=False)
        self.bar.update(done - self.bar.n)


def _line(event: Event, count: str) -> str:
    message = one_line(event.message)
    if event.cell is None or event.kind == "note":
        return f"note     {message}"
    title = event.cell.title
    lines = {
        "stale": f"stale: {title} ({message}); computing it again",
        "trained": f"trained  {event.cell.model_title}",
        "done": f"done     {title}{count}",
        "failed": f"FAILED   {title}{count}: {message}",
    }
    return lines[event.kind]


def duration(seconds: float) -> str:
    """A time for people, such as "about 5 min"."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
