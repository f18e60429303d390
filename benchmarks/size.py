"""Planning, status and leaderboard of 10 000 cells, and a cached run of 1 000: seconds and memory, as a Markdown table.

Run ``.venv/bin/python benchmarks/size.py`` (a minute on one core). The suite is real, its records are those of the quick board
under other names, and its models hold one number each; each command is a process of its own, its start included, the
fastest of three. It exits with 1 where a command is over its limit.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from mibench.plugins import load
from mibench.results.facts import CellFacts
from mibench.results.record import Record, read_record, write_record
from mibench.results.store import Store
from mibench.suite.cells import Cell
from mibench.suite.suite import load_suite, plan_cells

BOARD = Path(__file__).parent.parent / "leaderboards" / "quick" / "records"
DEFENSES = (
    "vp",
    "ve",
    "cld",
    *(f"hold{n}" for n in range(1, 5)),
    *(f"hold:order={n},aux_variance=1" for n in (2, 3, 4)),
)
ATTACKS = ("loss", "secmi", "pian", "sima", *(f"pia:p={p}" for p in range(1, 16)))
SUITE = """title = "Size"
datasets = ["digits", "swiss-roll"]
defenses = [{defenses}]
attacks = [{attacks}]
seeds = {seeds}
controls = false
"""
GIB = 2**30


def make(folder: Path, store: Store, seeds: int) -> int:
    """Write a suite, a record for each of its cells, and their models; how many cells."""
    folder.mkdir()
    names = {"defenses": DEFENSES, "attacks": ATTACKS}
    lists = {kind: ", ".join(f'"{name}"' for name in found) for kind, found in names.items()}
    (folder / "suite.toml").write_text(SUITE.format(**lists, seeds=list(range(seeds))))
    known = [read_record(path) for path in sorted(BOARD.glob("*/*/*-s[0-9].json"))]
    kinds: dict[tuple[str, bool], Iterator[Record]] = {}
    for name in ("digits", "swiss-roll"):
        trained = [r for r in known if r.labels["dataset"] == name and r.cell.model == "trained"]
        kinds[name, True] = itertools.cycle([record for record in trained if record.attack])
        kinds[name, False] = itertools.cycle([record for record in trained if record.utility])
    cells = plan_cells(load(), load_suite(str(folder)).suite)
    for cell in cells:
        if not store.has("models", cell.model_key):
            store.save("models", cell.model_key, {"x": torch.tensor([0.0])}, {"spec": cell.model_spec(), "split": "f"})
        weights = store.meta("models", cell.model_key)["digest"]
        like = next(kinds[cell.dataset.name, cell.attack is not None])
        write_record(folder / "records" / cell.path, renamed(like, cell, weights))
    return len(cells)


def renamed(record: Record, cell: Cell, weights: str) -> Record:
    """A record as that of another cell."""
    model = record.model.model_copy(update={"key": cell.model_key, "digest": weights})
    fields = {"key": cell.key(weights), "labels": cell.labels, "cell": CellFacts(**cell.spec()), "model": model}
    return record.model_copy(update=fields).sealed()


def cost(*command: str) -> tuple[float, float, int]:
    """Seconds, those of the processor alone, and bytes of memory that ``mibench`` takes with these arguments."""
    began = time.monotonic()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "mibench", *command],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"mibench {' '.join(command)} failed")
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main() -> bool:
    """Print a row per command; whether all are within their limits."""
    fine = True
    print("| cells | command | seconds | of the processor | limit | GiB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        store = Store(root / "store")
        for seeds, commands in (
            (25, {"run": 5, "status": 5, "leaderboard": 10}),
            (3, {"run": 2}),
        ):
            folder = root / f"{seeds}-seeds"
            cells = make(folder, store, seeds)
            for command, limit in commands.items():
                more = [] if command == "leaderboard" else ["--store", str(store.root)]
                seconds, busy, memory = min(cost(command, str(folder), *more) for _ in range(3))
                fine &= seconds <= limit and memory <= GIB
                print(
                    f"| {cells} | `{command}` | {seconds:.2f} | {busy:.2f} | {limit} | {memory / GIB:.2f} |", flush=True
                )
    return fine


if __name__ == "__main__":
    raise SystemExit(not main())
