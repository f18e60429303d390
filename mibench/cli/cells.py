"""The suite that the flags of ``mibench run`` describe, or that they add to."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from mibench.errors import UsageError

if TYPE_CHECKING:
    from mibench.suite.suite import Suite

__all__ = ["CELL_FLAGS", "extended_suite", "suite_of_flags"]

CELL_FLAGS = ("dataset", "seed", "model", "recipe", "samples", "guidance")
"""The flags that say how cells are made, as a suite does."""


def extended_suite(suite: Suite, args: argparse.Namespace) -> Suite:
    """The suite with the defenses and attacks that the flags add to it."""
    if wrong := [f"--{name}" for name in CELL_FLAGS if getattr(args, name) is not None]:
        raise UsageError(
            f"a suite says how its cells are made; {', '.join(wrong)} cannot be given beside it, only --defense and --attack"
        )
    more = {
        "defenses": dict.fromkeys([*suite.defenses, *_listed(args.defense)]),
        "attacks": dict.fromkeys([*suite.attacks, *_listed(args.attack)]),
    }
    return suite.model_copy(update={kind: list(names) for kind, names in more.items()})


def suite_of_flags(args: argparse.Namespace) -> Suite:
    """The suite that the flags describe."""
    from mibench.names import validated
    from mibench.suite.cells import Utility
    from mibench.suite.loose import loose_suite

    defenses, attacks = _listed(args.defense), _listed(args.attack)
    if not defenses or not attacks:
        raise UsageError("give a suite, or --defense and --attack (see `mibench ls`)")
    given = {name: getattr(args, name) for name in ("samples", "guidance")}
    utility = {name: value for name, value in given.items() if value is not None}
    validated(Utility, utility, "run", {name: f"--{name}" for name in given})
    return loose_suite(
        _listed(args.dataset) or ["digits"],
        defenses,
        attacks,
        args.seed or [0],
        args.model or "trained",
        args.recipe or "",
        utility,
    )


def _listed(flags: list[str] | None) -> list[str]:
    """The names that the values of a flag list."""
    return [name for text in flags or [] for name in _names(text)]


def _names(text: str) -> list[str]:
    """``vp,hold3`` and ``vp hold:order=3,aux_variance=2``: a comma starts a new name where no option is open.

    Quotes within hold together a value with spaces, as in ``images:path='my photos',size=16``.

    Raises:
        UsageError: for a quote that is not closed, or a path with spaces outside quotes.
    """
    from mibench.names import split_list

    try:
        words = shlex.split(text)
    except ValueError:
        raise UsageError(
            f"{text!r}: a quote is not closed; a name with an apostrophe goes into double quotes"
        ) from None
    names: list[str] = []
    for word in words:
        if names and "path=" in names[-1] and "/" in word.partition(":")[0]:
            raise UsageError(f"{text!r}: a path with spaces goes into quotes of its own, such as path='my photos'")
        for part in split_list(word):
            if names and "=" in part and ":" not in part.partition("=")[0] and ":" in names[-1]:
                names[-1] += f",{part}"
            else:
                names.append(part)
    return names
