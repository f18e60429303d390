"""``mibench run``."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from mibench.cli.common import add_plugins, add_store, open_store
from mibench.errors import MibenchError, UsageError

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "suite",
        nargs="?",
        help="a suite.toml, its folder, or its name under leaderboards/; --defense and --attack add to it",
    )
    for kind, default in (("defense", ""), ("attack", ""), ("dataset", " (default: digits)")):
        parser.add_argument(
            f"--{kind}",
            action="append",
            metavar="NAME[:OPTION=VALUE,…]",
            help=f"name of a {kind}; repeats, takes lists with spaces in quotes{default}",
        )
    parser.add_argument("--seed", action="append", type=int, metavar="N", help="repeats (default: 0)")
    parser.add_argument(
        "--model",
        choices=["trained", "exact", "fresh"],
        help="trained (default), the exact model of the members, or of fresh data",
    )
    parser.add_argument("--recipe", metavar="OPTION=VALUE,…", help="training recipe, such as steps=2000,width=128")
    parser.add_argument("--samples", type=int, metavar="N", help="samples drawn to measure utility (default: 1000)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    jobs = parser.add_argument_group("jobs (docs/operations.md)")
    jobs.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="jobs at a time, one torch thread each (default: 1; with ray: its CPUs)",
    )
    jobs.add_argument(
        "--gpus", metavar="0,1", help="the GPUs that jobs are spread over, several each if there are more workers"
    )
    jobs.add_argument(
        "--time-limit",
        default="24h",
        metavar="30m",
        help="for each cell, and for each training: s, m, h or d, or none; what takes longer is stopped (default: 24h)",
    )
    jobs.add_argument("--shard", metavar="I/N", help="only the I-th of N parts of the models, for a batch scheduler")
    jobs.add_argument("--engine", choices=["local", "ray"], default="local", help="default: local")
    jobs.add_argument(
        "--address", metavar="HOST:PORT", help="of a running ray cluster, or auto (default: one of this machine)"
    )
    jobs.add_argument("--gpu-share", type=float, metavar="0.25", help="with ray: of a GPU for each job (default: 1)")
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Run what the arguments ask for."""
    from mibench.harness.estimate import shard
    from mibench.harness.plan import Plan
    from mibench.harness.run import Work
    from mibench.harness.suite import load_suite, loose_records, plan_cells
    from mibench.plugins import load

    part, limit = _part(args.shard), _seconds(args.time_limit)
    single = [f"--{k}" for k in ("dataset", "seed", "model", "recipe", "samples") if getattr(args, k) is not None]
    files = tuple(str(Path(file).absolute()) for file in args.plugin)
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
    registry = load(files)
    cells = plan_cells(registry, suite)
    cells = shard(cells, *part) if part else cells
    plan = Plan(cells, folder, store)
    engine = _engine(args)
    states = plan.states()
    for cell, (state, why) in zip(cells, states, strict=True):
        if state == "broken":
            raise MibenchError(why)
        if state == "stale":
            print(f"stale: {cell.title} ({why}); it is made anew", file=sys.stderr)
    todo = [cell for cell, (state, _) in zip(cells, states, strict=True) if state != "done"]
    if folder.exists() and todo and not os.access(folder, os.W_OK):
        raise UsageError(f"the folder {folder} cannot be written; choose another or change its permissions")
    began = time.monotonic()
    failed = _execute(plan, todo, engine, Work(_device(args), files, limit)) if todo else 0
    if not args.suite:
        _report(plan)
    seconds, done = time.monotonic() - began, len(cells) - failed
    print(f"{done} of {len(cells)} cells done, {len(todo) - failed} now, {failed} failed, {seconds:.0f} s")
    if failed:
        print("run the same command again to retry what failed", file=sys.stderr)
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
    from mibench.harness.suite import Suite
    from mibench.names import options, validated

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


def _part(text: str | None) -> tuple[int, int] | None:
    """``2/8`` as the second of eight parts."""
    if text is None:
        return None
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise UsageError(f"--shard {text}: give I/N with I from 1 to N, such as 1/8")
    return int(i), int(n)


def _seconds(text: str) -> float | None:
    """``30m`` in seconds."""
    if text == "none":
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text)
    if not found or not float(found[1]):
        raise UsageError(f"--time-limit {text[:40]}: give a time such as 90s, 30m, 12h or 2d, or none")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def _engine(args: argparse.Namespace) -> Any:
    """Where jobs run."""
    if args.workers is not None and not 1 <= args.workers <= 1024:
        raise UsageError(f"--workers {args.workers}: give a number from 1 to 1024")
    if args.engine == "ray":
        from mibench.harness.cluster import Cluster

        if args.gpus:
            raise UsageError("--gpus is for the local engine; ray has its own, see --gpu-share")
        if args.gpu_share is not None and not 0 < args.gpu_share <= 1:
            raise UsageError(f"--gpu-share {args.gpu_share}: give a number above 0, up to 1")
        return Cluster(args.workers, args.address, (args.gpu_share or 1.0) if _device(args) == "cuda" else 0.0)
    for name in ("address", "gpu_share"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for --engine ray")
    from mibench.harness.engine import Local

    gpus = tuple(part.strip() for part in (args.gpus or "").split(",") if part.strip())
    if args.gpus is not None and not (gpus and all(gpu.isalnum() or "-" in gpu for gpu in gpus)):
        raise UsageError(f"--gpus {args.gpus[:40]}: give their numbers, such as 0,1")
    if gpus and args.device == "cpu":
        raise UsageError("--gpus cannot be given beside --device cpu")
    return Local(args.workers or 1, gpus)


def _device(args: argparse.Namespace) -> str:
    """The device; a ray cluster may have one that this machine has not."""
    if args.device == "cpu":
        return "cpu"
    if args.engine == "ray":
        return "cuda" if args.device == "cuda" or args.gpu_share else "cpu"
    import torch

    there = torch.cuda.is_available()
    if args.device == "cuda" and not there:
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use; take --device cpu or auto")
    return "cuda" if there else "cpu"


def _execute(plan: Any, todo: list[Any], engine: Any, work: Any) -> int:
    """Run the engine behind a progress bar, or plain lines where there is no terminal."""
    from tqdm import tqdm

    from mibench.harness.run import Event, execute

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
            text = {
                "trained": f"trained  {event.cell.model_title if event.cell else ''}",
                "failed": f"FAILED   {title}: {event.message}",
                "done": f"done     {title}",
                "say": f"note     {event.message}",
            }[event.kind]
            bar.write(text, file=sys.stderr)

        return execute(plan, todo, engine, work, tell)


def _span(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _report(plan: Any) -> None:
    """One line per attack cell: privacy, utility, cost."""
    from mibench.harness.records import read_record
    from mibench.metrics.headings import heading, kernel_heading

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
        cost = f"{record.cost['forwards']:.0f} forwards"
        cost += f" + {record.cost['vjps']:.0f} vjps" if record.cost["vjps"] else ""
        parts.append(f"{cost} per sample")
        parts.append(f"{record.seconds:.1f} s (+ {record.model['seconds']:.0f} s training)")
        print(f"{cell.title}: " + " · ".join(parts))
