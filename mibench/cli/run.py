"""``mibench run``."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from typing import TYPE_CHECKING

from mibench.cli.common import SUITE, add_plugins, add_store, open_store
from mibench.cli.jobs import add_cluster, add_jobs, engine_of, options_of
from mibench.errors import UsageError

if TYPE_CHECKING:
    from mibench.suite.suite import Suite

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite",
        nargs="?",
        help=f"{SUITE}; --defense and --attack add to it",
    )
    for article, kind, default in (("a", "defense", ""), ("an", "attack", ""), ("a", "dataset", " (default: digits)")):
        parser.add_argument(
            f"--{kind}",
            action="append",
            metavar="NAME[:OPTION=VALUE,…]",
            help=f"name of {article} {kind}, or several in quotes; repeatable{default}",
        )
    parser.add_argument(
        "--seed",
        action="append",
        type=int,
        metavar="N",
        help="of split, training and noise; repeatable (default: 0)",
    )
    parser.add_argument(
        "--model",
        choices=["trained", "exact", "fresh"],
        help="a trained model (default), the exact model of the members, or that of fresh data",
    )
    parser.add_argument("--recipe", metavar="OPTION=VALUE,…", help="training recipe, such as steps=2000,width=128")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="generated samples that measure utility (default: 1000)"
    )
    add_cluster(add_jobs(parser))
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Run what the arguments ask for."""
    from mibench.cli.progress import ProgressDisplay
    from mibench.cli.summary import print_summary
    from mibench.jobs.run import run_suite
    from mibench.jobs.stop import Stop
    from mibench.suite.suite import load_suite, loose_records

    engine, options = engine_of(args), options_of(args)
    if args.suite:
        located = load_suite(args.suite)
        suite, records = _extended(located.suite, args), located.folder / "records"
        store = open_store(args)
    else:
        suite = _suite_of(args)
        store = open_store(args)
        records = loose_records(store.root, suite)
    began = time.monotonic()
    with Stop() as stop, ProgressDisplay() as display:
        outcome = run_suite(suite, records, store, engine, options, display.on_event, stop)
    if not args.suite:
        print_summary(outcome.plan)
    cells, failed = len(outcome.plan.cells), len(outcome.failures)
    computed = len(outcome.computed) - failed
    seconds = time.monotonic() - began
    print(f"{cells - failed} of {cells} cells done, {computed} now, {failed} failed, {seconds:.0f} s")
    if failed:
        print(
            "run the same command again to retry the cells that failed; `mibench log CELL` prints what their jobs printed",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _extended(suite: Suite, args: argparse.Namespace) -> Suite:
    """The suite with the defenses and attacks that the flags add to it."""
    flags = ("dataset", "seed", "model", "recipe", "samples")
    if wrong := [f"--{name}" for name in flags if getattr(args, name) is not None]:
        raise UsageError(
            f"a suite says how its cells are made; {', '.join(wrong)} cannot be given beside it, only --defense and --attack"
        )
    more = {
        "defenses": dict.fromkeys([*suite.defenses, *_listed(args.defense)]),
        "attacks": dict.fromkeys([*suite.attacks, *_listed(args.attack)]),
    }
    return suite.model_copy(update={kind: list(names) for kind, names in more.items()})


def _suite_of(args: argparse.Namespace) -> Suite:
    """The suite that the flags describe."""
    from mibench.suite.loose import loose_suite

    if not args.defense or not args.attack:
        raise UsageError("give a suite, or --defense and --attack (see `mibench ls`)")
    return loose_suite(
        _listed(args.dataset) or ["digits"],
        _listed(args.defense),
        _listed(args.attack),
        args.seed or [0],
        args.model or "trained",
        args.recipe or "",
        args.samples,
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
