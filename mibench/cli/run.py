"""``mibench run``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from contextlib import suppress
from typing import Any

from mibench.cli.common import SUITE, add_plugins, add_store, open_store
from mibench.cli.jobs import add_cluster, add_jobs, engine_of, part_of, work_of
from mibench.errors import MibenchError, UsageError, one_line

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
    from mibench.jobs.estimate import shard
    from mibench.plugins import load
    from mibench.suite.plan import Plan
    from mibench.suite.suite import load_suite, loose_records, plan_cells

    part, engine = part_of(args), engine_of(args)
    single = [f"--{k}" for k in ("dataset", "seed", "model", "recipe", "samples") if getattr(args, k) is not None]
    if args.suite:
        if single:
            raise UsageError(
                f"a suite says how its cells are made; {', '.join(single)} cannot be given beside it, only --defense and --attack"
            )
        located = load_suite(args.suite)
        suite, folder = _with_more(located.suite, args), located.folder / "records"
        store = open_store(args)
    else:
        suite = _suite_of(args)
        store = open_store(args)
        folder = loose_records(store.root, suite)
    if not folder.exists():  # so there is work
        engine.prepare()
    work = work_of(args)
    registry = load(work.plugins)
    cells = plan_cells(registry, suite)
    cells = shard(cells, *part) if part else cells
    plan = Plan(cells, folder, store)
    states = plan.states()
    if outdated := [cell for cell, (state, _) in zip(cells, states, strict=True) if state == "outdated"]:
        upgraded = plan.upgrade(outdated)
        print(f"{upgraded} of {len(outdated)} outdated records upgraded; the others are made anew", file=sys.stderr)
        states = plan.states()
    for cell, (state, why) in zip(cells, states, strict=True):
        if state == "broken":
            raise MibenchError(why)
        if state == "stale":
            print(f"stale: {cell.title} ({why}); it is made anew", file=sys.stderr)
    todo = [cell for cell, (state, _) in zip(cells, states, strict=True) if state != "done"]
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if todo and not os.access(there, os.W_OK):
        raise UsageError(f"the folder {there} cannot be written; choose another or change its permissions")
    began = time.monotonic()
    failed = _execute(plan, todo, engine, work) if todo else 0
    if not args.suite:
        _report(plan)
    seconds, done = time.monotonic() - began, len(cells) - failed
    print(f"{done} of {len(cells)} cells done, {len(todo) - failed} now, {failed} failed, {seconds:.0f} s")
    if failed:
        print(
            "run the same command again to retry what failed; `mibench log CELL` prints what its job has said",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _given(args: argparse.Namespace, kind: str) -> list[str]:
    """The names of a kind that the flags list."""
    from mibench.names import split_list

    return [name for text in getattr(args, kind) or [] for name in _names(text, split_list)]


def _with_more(suite: Any, args: argparse.Namespace) -> Any:
    """The suite and the defenses and attacks that the flags add to it."""
    more = {
        "defenses": dict.fromkeys([*suite.defenses, *_given(args, "defense")]),
        "attacks": dict.fromkeys([*suite.attacks, *_given(args, "attack")]),
    }
    return suite.model_copy(update={kind: list(names) for kind, names in more.items()})


def _suite_of(args: argparse.Namespace) -> Any:
    """The suite that the flags describe."""
    from mibench.names import options, validated
    from mibench.suite.suite import Suite

    if not args.defense or not args.attack:
        raise UsageError("give a suite, or --defense and --attack (see `mibench ls`)")
    datasets = _given(args, "dataset") or ["digits"]
    recipe = options(args.recipe, "--recipe") if args.recipe else {}
    if any(seed < 0 for seed in args.seed or []):
        raise UsageError("--seed must be 0 or more")
    return validated(
        Suite,
        {
            "datasets": datasets,
            "defenses": _given(args, "defense"),
            "attacks": _given(args, "attack"),
            "controls": False,
            "seeds": sorted(set(args.seed or [0])),
            "model": args.model or "trained",
            "recipe": {text.partition(":")[0]: recipe for text in datasets} if recipe else {},
            "utility": {"samples": args.samples} if args.samples is not None else {},
        },
        "run",
    )


def _names(text: str, split_list: Any) -> list[str]:
    """``vp,hold3`` and ``vp hold:order=3,aux_variance=2``: a comma starts a new name where no option is open.

    Quotes within hold together what has spaces, as in ``images:path='my photos',size=16``.

    Raises:
        UsageError: for a quote that is not closed, or a path with spaces outside quotes.
    """
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


def _execute(plan: Any, todo: list[Any], engine: Any, work: Any) -> int:
    """Run the engine behind a progress bar, or plain lines where there is no terminal."""
    from tqdm import tqdm

    from mibench.jobs.scheduler import Event, execute

    shape = "{n_fmt}/{total_fmt} cells |{bar}| {elapsed}{postfix}"
    said: set[str] = set()
    terminal, count = sys.stderr.isatty(), 0
    with tqdm(total=len(todo), disable=not terminal, dynamic_ncols=True, bar_format=shape) as bar:

        def tell(event: Event) -> None:
            nonlocal count
            left = f", {_span(event.left)} left" if event.left is not None and count + 1 < len(todo) else ""
            if event.kind == "progress" and event.cell:
                what = "training" if event.message == "models" else "scoring"
                bar.set_postfix_str(f"{what} {event.cell.labels['defense']} {event.share:.0%}{left}")
                return
            title = event.cell.title if event.cell else ""
            if event.kind in ("done", "failed"):
                count += 1
                bar.update()
                title += "" if terminal else f" ({count} of {len(todo)}{left})"
            if event.kind in ("say", "failed") and event.message in said:
                return  # the same of another model or cell
            said.add(event.message)
            kinds = {"trained": "trained", "failed": "FAILED", "done": "done", "say": "note"}
            text = {
                "trained": event.cell.model_title if event.cell else "",
                "failed": f"{title}: {one_line(event.message)}",
                "done": title,
                "say": one_line(event.message),
            }[event.kind]
            with suppress(OSError):  # nobody reads any more; the run goes on
                bar.write(f"{kinds[event.kind]:9}{text}", file=sys.stderr)

        return execute(plan, todo, engine, work, tell)


def _span(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _report(plan: Any) -> None:
    """One line per attack cell: privacy, utility, cost."""
    from mibench.metrics.headings import heading, kernel_heading
    from mibench.results.record import read_record

    utility = {}
    for cell in plan.cells:
        if cell.attack is None and plan.path(cell).exists():
            utility[cell.model_key] = read_record(plan.path(cell)).utility
    for cell in plan.cells:
        if cell.attack is None or not plan.path(cell).exists():
            continue
        record = read_record(plan.path(cell))
        if record.attack is None:
            print(f"{cell.title}: {record.status} ({record.reason})")
            continue
        best = record.attack.calibrated
        low, high = best.auroc.interval or (float("nan"), float("nan"))
        rates = [(f, e) for f, e in best.tpr.items() if e.value is not None]
        parts = [f"AUROC {best.auroc.value:.3f} [{low:.3f}, {high:.3f}] at {best.setting} (calibrated)"]
        for fpr, rate in rates[-1:]:
            span = f" [{rate.interval[0]:.2f}, {rate.interval[1]:.2f}]" if rate.interval else ""
            parts.append(f"TPR@{float(fpr):.0%}FPR {rate.value:.3f}{span}")
        used = utility.get(cell.model_key)
        if used:
            for found in (used, used.inception) if used.inception else (used,):
                text = f"{heading(found.space)} ({found.space}) {found.distance:.4g}"
                parts.append(f"{text} (n {used.n}, null {found.null:.2g})")
                if found.kid is not None:
                    parts.append(f"{kernel_heading(found.space)} {found.kid:.3g}")
        if record.cost:
            vjps = f" + {record.cost.vjps:.0f} vjps" if record.cost.vjps else ""
            parts.append(f"{record.cost.forwards:.0f} forwards{vjps} per sample")
        parts.append(f"{record.seconds:.1f} s (+ {record.model.seconds or 0:.0f} s training)")
        print(f"{cell.title}: " + " · ".join(parts))
