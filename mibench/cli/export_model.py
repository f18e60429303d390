"""``mibench export-model``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mibench.cli.common import add_plugins, add_store, open_store
from mibench.errors import UsageError

if TYPE_CHECKING:
    from mibench.suite.cells import Cell

__all__ = ["arguments", "main"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("record", nargs="?", metavar="RECORD.json", help="a record of the model's; else give --defense")
    parser.add_argument("--defense", metavar="NAME", help="defense of a model that `mibench run` has trained")
    parser.add_argument("--dataset", metavar="NAME", help="its dataset (default: digits)")
    parser.add_argument("--seed", type=int, metavar="N", help="its seed (default: 0)")
    parser.add_argument("--recipe", metavar="OPTION=VALUE,…", help="its training recipe")
    parser.add_argument("--diffusers", metavar="DIR", help="folder to write the model to, as diffusers reads it")
    parser.add_argument(
        "--data", metavar="DIR", help="folder to write members, non-members and reference to, as images"
    )
    add_store(parser)
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Write a stored model, and its files."""
    from mibench.auditing.export import export_diffusers, write_images
    from mibench.diffusion.model import Cost
    from mibench.evaluate.target import Target

    if not args.diffusers and not args.data:
        raise UsageError("say what to write: --diffusers DIR, --data DIR, or both")
    cell, store = _cell(args), open_store(args, write=False)
    if cell.model_kind != "trained" or not store.has("models", cell.model_key):
        raise UsageError(
            f"the store {store.root} holds no trained model of {cell.model_title}; train it with `mibench run` first"
        )
    target = Target(cell, store, "cpu")
    if args.diffusers:
        model = target.released.counted(Cost())
        export_diffusers(model, cell.own_recipe, Path(args.diffusers), target.data.normalisation)
        print(f"wrote {args.diffusers}: {cell.model_title}")
    if args.data:
        write_images(target.data, cell.dataset.modality, Path(args.data))
        sizes = ", ".join(
            f"{len(getattr(target.data, name))} {name}" for name in ("members", "nonmembers", "reference")
        )
        print(f"wrote {args.data}: {sizes}")
    return 0


def _cell(args: argparse.Namespace) -> Cell:
    """The cell of the model that the arguments name."""
    from mibench.plugins import load
    from mibench.results.record import read_named_record
    from mibench.suite.loose import loose_suite
    from mibench.suite.recorded import cell_of
    from mibench.suite.suite import plan_cells

    registry = load(tuple(args.plugin))
    if args.record:
        if given := [
            f"--{name}" for name in ("defense", "dataset", "seed", "recipe") if getattr(args, name) is not None
        ]:
            raise UsageError(f"the record names the model; leave out {', '.join(given)}")
        return cell_of(read_named_record(Path(args.record)), registry)
    if not args.defense:
        raise UsageError("name a record, or a model with --defense")
    seed = 0 if args.seed is None else args.seed
    suite = loose_suite([args.dataset or "digits"], [args.defense], ["loss"], [seed], recipe=args.recipe or "")
    return plan_cells(registry, suite)[0]
