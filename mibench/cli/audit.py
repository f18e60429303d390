"""``mibench audit``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mibench.cli.common import add_json, add_plugins, add_store, print_json
from mibench.errors import UsageError

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("model", help="folder of a diffusers model, or file.py:function (returns a mibench.Checkpoint)")
    for name, what, needed in (
        ("members", "the files that it was trained on", True),
        ("nonmembers", "files that it was not trained on, of the same source", True),
        ("reference", "further files that it was not trained on (default: half of the non-members)", False),
    ):
        parser.add_argument(f"--{name}", required=needed, metavar="DIR", help=f"folder, zip or tar: {what}")
    parser.add_argument(
        "--data", metavar="NAME[:OPTION=VALUE,…]", help="how files are read: images, or speech:… (default: images)"
    )
    parser.add_argument(
        "--attack", action="append", metavar="NAME[:OPTION=VALUE,…]",
        help="attack, or several in quotes; repeatable (default: all that need no training)",
    )  # fmt: skip
    parser.add_argument(
        "--labels",
        metavar="CSV",
        help="of a class-conditional model: a CSV with file and label, or `folders` for theirs",
    )
    parser.add_argument(
        "--captions",
        metavar="CSV",
        help="of a text-conditional model: a CSV with file and caption, or `empty` for the empty caption",
    )
    parser.add_argument("--empty-label", type=int, metavar="N", help="the class that stands for none, if there is one")
    parser.add_argument("--range", metavar="LOW,HIGH", help="values of black and white in training (default: -1,1)")
    parser.add_argument("--normalisation", metavar="SHIFT,SCALE", help="the model's data are (x - SHIFT) / SCALE")
    parser.add_argument("--size", type=int, metavar="N", help="height and width, where the model's config has none")
    parser.add_argument("--weights", metavar="NAME", help="folder of the network in the model's (default: unet)")
    parser.add_argument("--scheduler", metavar="DIR", help="folder of another scheduler_config.json")
    parser.add_argument(
        "--trust-pickle", action="store_true", help="read weights that are pickles, which can run anything"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use at most N files of each side")
    parser.add_argument("--batch", type=int, metavar="N", help="files that are scored at a time (default: 128)")
    parser.add_argument("--samples", type=int, metavar="N", help="samples to show beside files (default: 200)")
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="S",
        help="scale of classifier-free guidance of those samples (default: 1, none)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of shuffling and noise (default: 0)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], help="where to compute (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the CPU (default: as torch chooses)")
    parser.add_argument("--no-controls", action="store_true", help="leave out the exact and the fresh model")
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: audit)")
    parser.add_argument("--quiet", action="store_true", help="print only the result")
    add_json(parser)
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Audit, and print the headline, the table of attacks and where the report is."""
    from mibench.api import audit
    from mibench.cli.progress import AuditDisplay

    names = ("reference", "data", "labels", "captions", "empty_label", "size", "weights", "scheduler", "limit", "batch")
    more = ("samples", "guidance", "seed", "device", "threads", "out", "store")
    options = {name: getattr(args, name) for name in (*names, *more) if getattr(args, name) is not None}
    attacks = [name for text in args.attack or [] for name in text.split()]
    pairs = {name: _pair(getattr(args, name), name) for name in ("range", "normalisation") if getattr(args, name)}
    with AuditDisplay(args.quiet) as display:
        found = audit(
            args.model,
            args.members,
            args.nonmembers,
            attacks=attacks,
            trust_pickle=args.trust_pickle,
            controls=not args.no_controls,
            plugins=tuple(args.plugin),
            say=display.say,
            progress=display.progress,
            **options,
            **pairs,
        )
    if args.json:
        print_json(found.model_dump(mode="json") | {"folder": str(found.folder)})
        return 0
    print(found.headline)
    for row in found.attacks:
        low, high = row.interval
        print(f"  {row.attack}: AUROC {row.auroc:.3f} [{low:.3f}, {high:.3f}] at {row.setting} ({row.tier})")
    print(f"  the members as a set: p = {found.set_level.p_value:.2g} ({found.set_level.attack})")
    for warning in found.warnings:
        print(f"note     {warning}", file=sys.stderr)
    print(f"wrote {found.folder / 'report.html'}")
    return 0


def _pair(text: str, name: str) -> Any:
    """Two numbers."""
    try:
        low, high = (float(part) for part in text.strip("[]() ").split(","))
    except ValueError:
        raise UsageError(
            f"--{name} {text!r}: give two numbers such as {'0,1' if name == 'range' else '0.5,0.5'}"
        ) from None
    return low, high
