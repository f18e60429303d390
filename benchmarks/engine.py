"""How much of its workers' time the engine uses: 60 jobs of 5 s on 2 workers, 3 killed on the way, and what a job costs.

    python benchmarks/engine.py [--engine ray [--address auto]] [--jobs 60] [--seconds 5] [--seed 0]

Efficiency is the time of all cells, as their records say, over workers × wall time, from the first command to the end of the
last; what was killed, each at a random moment, is run again within it. With --address the ray cluster is one that stands
already (ray start --head --num-cpus 3), else one that is started and ended within that time. Also: the score digests are
those of a serial run of the same cells without the waiting, and how long a real job of the quick suite takes from its start
to its first word.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil

from mibench.results.record import read_record

PLUGIN = """
    import time
    from pathlib import Path
    from mibench import Attack, hookimpl

    class Stub(Attack):
        "Waits."
        name = "stub"
        published = "x"
        def fit(self, model, members, nonmembers, ctx):
            time.sleep(float(Path(__file__).with_name("seconds").read_text()))
        def score(self, model, x, ctx):
            return {"x": x.flatten(1).sin().sum(1)}

    @hookimpl
    def mibench_attacks():
        return [Stub]
"""
SUITE = """
datasets = ["digits:members=20,nonmembers=40,reference=200"]
defenses = ["vp"]
attacks = ["stub"]
seeds = [{seeds}]
model = "exact"
controls = false
[utility]
samples = 100
evaluations = 2
"""


def command(folder: Path, plugin: Path, *more: str) -> list[str]:
    """The run of a suite."""
    return [
        sys.executable,
        "-m",
        "mibench",
        "run",
        str(folder),
        "--plugin",
        str(plugin),
        "--store",
        f"{folder}-store",
        *more,
    ]


def board(root: Path, name: str, jobs: int) -> Path:
    """A suite of so many stub jobs, each on a model of its own."""
    folder = root / name
    folder.mkdir()
    (folder / "suite.toml").write_text(SUITE.format(seeds=", ".join(map(str, range(jobs)))))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """The digests of the scores by record."""
    records = {path.name: read_record(path) for path in folder.rglob("stub*.json")}
    return {name: record.attack.scores for name, record in records.items() if record.attack}


def scoring(driver: int, engine: str) -> list[psutil.Process]:
    """The workers that are at a job: on ray those that are busy, else the processes under the driver that have no children."""
    if engine == "ray":
        return [process for process in psutil.process_iter() if "ray::_Worker.run" in _line(process)]
    under = psutil.Process(driver).children(recursive=True)
    return [process for process in under if "forkserver" in _line(process) and not process.children()]


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def start(folder: Path, plugin: Path) -> float:
    """Seconds from the start of a real job until it begins its first cell, workers preloaded."""
    from mibench.jobs.local import Local
    from mibench.jobs.messages import Begin, JobKind, JobSpec
    from mibench.plugins import load
    from mibench.suite.cells import CellSpec
    from mibench.suite.suite import load_suite, plan_cells

    cells = plan_cells(load(), load_suite("quick").suite)
    model = next(cell for cell in cells if cell.model_kind == "exact")
    kinds: tuple[JobKind, ...] = ("models", "measure", "measure")
    took = []
    with Local(1) as engine:
        for kind in kinds:
            spec = JobSpec(kind=kind, cells=(CellSpec.of(model),), device="cpu", store=folder, log=folder / "log")
            began, begun = time.monotonic(), None
            engine.start(kind, spec, 0)
            while engine.guards:
                for _, message in engine.wait():
                    if isinstance(message, Begin):
                        begun = begun or time.monotonic() - began
            took.append(begun)
    return took[-1] or float("nan")


def main() -> int:
    """Run it, print the table, and check the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="local", choices=["local", "ray"])
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--address", help="of a ray cluster that stands already")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        plugin = root / "stub.py"
        plugin.write_text(textwrap.dedent(PLUGIN))
        serial, tried = board(root, "serial", args.jobs), board(root, "tried", args.jobs)
        (root / "seconds").write_text("0")
        subprocess.run(command(serial, plugin), check=True, capture_output=True)

        (root / "seconds").write_text(str(args.seconds))
        choose, began, runs = random.Random(args.seed), time.monotonic(), 1
        expected = args.jobs * args.seconds / 2
        more = ["--workers", "2", "--engine", args.engine] + (["--address", args.address] if args.address else [])
        process = subprocess.Popen(command(tried, plugin, *more), stderr=subprocess.DEVNULL)
        for share in sorted(choose.uniform(0.1, 0.9) for _ in range(3)):
            time.sleep(max(0.0, began + share * expected - time.monotonic()))
            victims: list[psutil.Process] = []
            while not victims:
                time.sleep(0.1)
                victims = scoring(process.pid, args.engine)
            choose.choice(victims).kill()
        code = process.wait()
        while code == 1 and runs < 5:
            code, runs = (
                subprocess.run(command(tried, plugin, *more), stderr=subprocess.DEVNULL).returncode,
                runs + 1,
            )
        wall = time.monotonic() - began
        efficiency = sum(read_record(path).seconds for path in tried.rglob("records/**/*.json")) / (2 * wall)
        same = digests(tried) == digests(serial) and len(digests(tried)) == args.jobs
        print(
            f"{args.engine}: {args.jobs} jobs of {args.seconds:g} s on 2 workers, 3 killed: {wall:.1f} s in {runs} runs"
        )
        print(f"efficiency {efficiency:.3f}, digests {'equal' if same else 'DIFFER'}")
        seconds = start(root / "start-store", plugin) if args.engine == "local" else 0.0
        if args.engine == "local":
            print(f"a job of the quick suite begins its first cell {seconds:.2f} s after its start")
    return 0 if code == 0 and same and efficiency >= 0.9 and seconds < 0.5 else 1


if __name__ == "__main__":
    raise SystemExit(main())
