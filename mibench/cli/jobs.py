"""How jobs are run: the arguments of the subcommands that run some, and the engine and options that these describe."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.errors import UsageError

if TYPE_CHECKING:
    from mibench.jobs.engine import Engine
    from mibench.jobs.options import JobOptions

__all__ = ["add_cluster", "add_jobs", "engine_of", "options_of"]


def add_jobs(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """--device, --workers, --gpus, --time-limit."""
    jobs = parser.add_argument_group("jobs (docs/operations.md)")
    jobs.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="device of the models (default: auto)"
    )
    jobs.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of jobs at a time, one torch thread each (default: 1; with ray: the CPUs of the cluster)",
    )
    jobs.add_argument(
        "--gpus", metavar="0,1", help="spread the jobs over these GPUs, several jobs on each if there are more workers"
    )
    jobs.add_argument(
        "--time-limit",
        type=_seconds,
        default="24h",
        metavar="30m",
        help="stop a cell or a training that takes longer: a number with s, m, h or d, or none (default: 24h)",
    )
    parser.set_defaults(engine="local", address=None, gpu_share=None, shard=None)
    return jobs


def add_cluster(jobs: argparse._ArgumentGroup) -> None:
    """--shard, --engine, --address, --gpu-share."""
    jobs.add_argument("--shard", metavar="I/N", help="run only the I-th of N parts of the suite, for a batch scheduler")
    jobs.add_argument("--engine", choices=["local", "ray"], default="local", help="where jobs run (default: local)")
    jobs.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a running ray cluster, or auto (default: start one on this machine)",
    )
    jobs.add_argument(
        "--gpu-share", type=float, metavar="0.25", help="with ray: share of a GPU for each job (default: 1)"
    )


def engine_of(args: argparse.Namespace) -> Engine:
    """Where jobs run.

    Raises:
        UsageError: for numbers out of range, and options of the other engine.
    """
    if args.workers is not None and not 1 <= args.workers <= 1024:
        raise UsageError(f"--workers {args.workers}: give a number from 1 to 1024")
    if args.engine == "ray":
        from mibench.jobs.ray import Cluster

        if args.gpus:
            raise UsageError("--gpus is for the local engine; for ray give --gpu-share")
        if args.gpu_share is not None and not 0 < args.gpu_share <= 1:
            raise UsageError(f"--gpu-share {args.gpu_share}: give a number above 0, up to 1")
        share = 0.0 if args.device == "cpu" else args.gpu_share or float(args.device == "cuda")
        return Cluster(args.workers, args.address, share)
    from mibench.jobs.local import Local

    for name in ("address", "gpu_share"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for --engine ray")
    gpus = tuple(part.strip() for part in (args.gpus or "").split(",") if part.strip())
    if args.gpus is not None and not (gpus and all(gpu.isalnum() or "-" in gpu for gpu in gpus)):
        raise UsageError(f"--gpus {args.gpus[:40]}: give their numbers, such as 0,1")
    if gpus and args.device == "cpu":
        raise UsageError("--gpus cannot be given beside --device cpu")
    return Local(args.workers or 1, gpus)


def options_of(args: argparse.Namespace) -> JobOptions:
    """How jobs are done.

    Raises:
        UsageError: for a shard that is none.
    """
    from mibench.jobs.options import JobOptions

    plugins = tuple(str(Path(file).absolute()) for file in args.plugin)
    return JobOptions(args.device, plugins, args.time_limit, _shard(args.shard))


def _shard(text: str | None) -> tuple[int, int]:
    """``2/8`` as the second of eight parts."""
    if text is None:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text[:40]}: give I/N with I from 1 to N, such as 1/8")
    return int(found[1]), int(found[2])


def _seconds(text: str) -> float | None:
    """``30m`` in seconds."""
    if text == "none":
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: give a time such as 90s, 30m, 12h or 2d, or none")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
