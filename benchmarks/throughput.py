"""Training and attack throughput of a device, and the share of its peak, as Markdown tables.

Run ``.venv/bin/python benchmarks/throughput.py`` on a CPU (`unet-tiny`, a minute on one core), and on a GPU
``.venv/bin/python benchmarks/throughput.py --device cuda --network unet-cifar --batch 512``. The work is counted by torch's
FlopCounterMode on the network that runs uncompiled, forward and backward; the peak is the chip's dense one as its maker states
it, or ``--peak-tflops`` (of the precision of training), on a CPU that of a large product of matrices, measured. A step of
training is all of it: batch, noise, network, gradient, Adam, moving average. Beside it a plain loop: fp32 without TF32,
uncompiled, batch 128, a DataLoader with 4 workers. On the CPU processor time counts, on one thread, the DataLoader's apart.

On a GPU the scores of the two attacks are compared with and without TF32 on the model that was trained, and the program exits
with 1 where an AUROC moves by more than .002, training is not 3 times as fast as the plain loop, or, on an H200 with
`unet-cifar`, below 4000 images a second.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from mibench import IMAGE, Model, Recipe
from mibench.context import Context
from mibench.data import split
from mibench.diffusion.compiled import LONG, compiled
from mibench.diffusion.losses import NoisedBatch, hybrid_score_matching, noised
from mibench.diffusion.model import network_of
from mibench.diffusion.optimise import Callbacks, adam, optimise
from mibench.diffusion.training import TIMES, SingleTrainer, time_table
from mibench.evaluate.backends import set_backends
from mibench.metrics.auroc import auroc
from mibench.names import build
from mibench.plugins import load
from mibench_attacks import Loss, SecMI
from mibench_defenses import HOLD

# dense tensor-core rates of the SXM boards, as NVIDIA's data sheets state them, and fp32 without tensor cores
PEAKS = {
    "H200": {"bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    "H100": {"bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    "A100": {"bf16": 312.0, "tf32": 156.0, "fp32": 19.5},
}
PLAIN_BATCH, LOADERS = 128, 4
MOST_MOVED, LEAST_FASTER, LEAST_IMAGES = 0.002, 3.0, 4000.0


class Device:
    """A device, its clock, and its peaks in FLOP/s by precision; empty where they are not known."""

    def __init__(self, name: str, peak: float | None, precision: str) -> None:
        self.name, self.peaks = name, {}
        self.chip = torch.cuda.get_device_name() if name == "cuda" else "CPU, one thread"
        if name == "cuda":
            self.peaks = next((dict(known) for chip, known in PEAKS.items() if chip in self.chip), {})
        elif peak is None:
            self.peaks = {"fp32": self._product(torch.float32), "bf16": self._product(torch.bfloat16)}
        if peak is not None:
            self.peaks[precision] = peak

    def seconds(self, call: Callable[[], object], repetitions: int = 3) -> float:
        """The median time of a call, what it leaves to the device included."""
        clock = time.perf_counter if self.name == "cuda" else time.process_time
        taken = []
        for _ in range(repetitions):
            began = clock()
            call()
            if self.name == "cuda":
                torch.cuda.synchronize()
            taken.append(clock() - began)
        return statistics.median(taken)

    def _product(self, dtype: torch.dtype, size: int = 1024) -> float:
        a, b = torch.randn(2, size, size).to(dtype)
        return 2 * size**3 / self.seconds(lambda: a @ b, 5) / 1e12

    def row(self, what: str, precision: str, rate: float, work: float) -> str:
        """A row of the table: work in FLOP a sample, rate in samples a second."""
        peak = self.peaks.get(precision)
        share = f"{rate * work / 1e12 / peak:.1%} of {peak:.3g}" if peak else "peak unknown"
        return f"| {what} | {precision} | {rate:.1f} | {work / 1e9:.2f} | {rate * work / 1e12:.3f} | {share} |"


def counted(call: Callable[[], object]) -> float:
    """The floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


class Pixels(Dataset[Tensor]):
    """Images as a plain training script has them: bytes, made float one by one."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index].float() / 127.5 - 1


def ours(device: Device, defense: HOLD, members: Tensor, recipe: Recipe, steps: int) -> tuple[float, float, Model]:
    """Images a second, FLOP an image, and the model as it is then."""
    model = defense.build_model(tuple(members.shape[1:]), 1.0, recipe, device.name)
    network_of(model).train()
    task = SingleTrainer(defense, model, members, recipe, 0)
    work = counted(lambda: task.step(adam(task, recipe))) / recipe.batch
    long = recipe.model_copy(update={"steps": max(steps, LONG)})
    with compiled(model, long, lambda line: print(line, flush=True)):

        def run(steps: int) -> None:
            optimise(task, recipe.model_copy(update={"steps": steps}), Callbacks(), lambda *_: None)

        run(3)
        seconds = device.seconds(lambda: run(steps))
    network_of(model).eval()
    return steps * recipe.batch / seconds, work, model


def plain(device: Device, defense: HOLD, members: Tensor, recipe: Recipe, steps: int) -> float:
    """Images a second of a loop as scripts have it."""
    torch.use_deterministic_algorithms(False)
    shape = tuple(members.shape[1:])
    model = defense.build_model(shape, 1.0, recipe, device.name)
    module = network_of(model).to(memory_format=torch.contiguous_format).train()  # type: ignore[call-overload]
    average = [p.detach().clone() for p in module.parameters()]
    optimizer = torch.optim.Adam(module.parameters(), lr=recipe.learning_rate)
    table, generator = time_table(model.process, recipe, model.device), torch.Generator(model.device).manual_seed(0)
    pixels = ((members + 1) * 127.5).round().to(torch.uint8)
    whole = pixels.repeat(-(-PLAIN_BATCH * (steps + 3) // len(pixels)), 1, 1, 1)
    batches = iter(DataLoader(Pixels(whole), PLAIN_BATCH, shuffle=True, num_workers=LOADERS, drop_last=True))

    def run(steps: int) -> None:
        for _ in range(steps):
            batch = next(batches).to(model.device)
            kernel = table.take(torch.randint(TIMES, (len(batch),), generator=generator, device=model.device))
            eps = torch.randn(len(batch), *model.state_shape, generator=generator, device=model.device).double()
            u, rows = noised(batch.double(), kernel, eps), torch.arange(len(batch))
            loss = hybrid_score_matching(model, NoisedBatch(u, eps[:, -1], kernel, rows)).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
            optimizer.step()
            with torch.no_grad():
                for mean, p in zip(average, module.parameters(), strict=True):
                    mean.lerp_(p, 1 - recipe.ema)

    run(3)
    seconds = device.seconds(lambda: run(steps), repetitions=1)
    set_backends(device.name)
    return PLAIN_BATCH * steps / seconds


def attacks(device: Device, model: Model, x: Tensor, tf32: bool) -> tuple[list[str], dict[str, dict[str, Tensor]]]:
    """A row for each attack, and its scores of (B, *item) samples; first the warm-up, then what is timed."""
    set_backends(device.name, tf32)
    rows, scores = [], {}
    x = x.to(model.device, torch.float64)
    for attack in (SecMI(), Loss()):
        ctx = Context(0, model.device, modality=IMAGE)

        def score(part: Tensor, attack: Any = attack, ctx: Context = ctx) -> dict[str, Tensor]:
            with torch.no_grad():
                found: dict[str, Tensor] = attack.score(model, part, ctx)
            return found

        work = counted(lambda score=score: score(x[:2])) / 2  # type: ignore[misc]
        scores[attack.name] = score(x)
        rate = len(x) / device.seconds(lambda score=score: score(x))  # type: ignore[misc]
        rows.append(device.row(f"scoring, {attack.name}, batch {len(x)}", "tf32" if tf32 else "fp32", rate, work))
    set_backends(device.name)
    return rows, scores


def main() -> bool:
    """Print the tables; whether the claims hold that this device can show."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--network", choices=["unet-tiny", "unet-cifar"], default="unet-tiny")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, help="of training, per measurement (default: 5, on a GPU 200)")
    parser.add_argument(
        "--samples", type=int, help="of members, and of non-members, that are scored (default: 16, on a GPU 256)"
    )
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--peak-tflops", type=float, help="dense peak of the chip in the precision of training")
    parser.add_argument("--dataset", help="such as cifar10:path=…; default: random images, 3×32×32")
    given = parser.parse_args()
    steps = given.steps or (200 if given.device == "cuda" else 5)
    samples = given.samples or (256 if given.device == "cuda" else 16)
    set_backends(given.device)
    warnings.filterwarnings("ignore", "This DataLoader will create")
    fast = "bf16" if given.device == "cuda" else "fp32"
    device = Device(given.device, given.peak_tflops, fast)
    defense = HOLD(order=given.order)
    if given.dataset:
        data = split(build(load(), "dataset", given.dataset), 0)  # type: ignore[arg-type]
        members, nonmembers = data.members, data.nonmembers
    else:
        images = torch.randint(256, (1024, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
        members, nonmembers = images.chunk(2)
    base = Recipe(batch=given.batch, network=given.network, learning_rate=1e-3)
    print(f"{device.chip}, {given.network}, order {given.order}, torch {torch.__version__}\n", flush=True)
    print("| | precision | samples/s | GFLOP a sample | TFLOP/s | share of the peak |\n|---|---|---|---|---|---|")
    rates: dict[str, float] = {}
    models: dict[str, Model] = {}
    for precision in ("fp32", "bf16"):
        recipe = base.model_copy(update={"precision": precision})
        rates[precision], work, models[precision] = ours(device, defense, members, recipe, steps)
        what = f"training, batch {given.batch}"
        print(device.row(what, precision, rates[precision], work), flush=True)
    rates["plain"] = plain(device, defense, members, base, steps)
    print(device.row(f"training, plain loop, batch {PLAIN_BATCH}", "fp32", rates["plain"], work), flush=True)
    x = torch.cat([members[:samples], nonmembers[:samples]])
    rows, exact = attacks(device, models[fast], x, tf32=False)
    print("\n".join(rows))
    ratio, moved = rates[fast] / rates["plain"], 0.0
    if given.device == "cuda":
        rows, rounded = attacks(device, models[fast], x, tf32=True)
        print("\n".join(rows))
        cut = min(samples, len(members))
        for name, settings in exact.items():
            for setting, values in settings.items():
                before, after = (auroc(v[:cut].cpu(), v[cut:].cpu()) for v in (values, rounded[name][setting]))
                moved = max(moved, abs(after - before))
    print(f"\ntraining in {fast} is {ratio:.2f} times as fast as the plain loop")
    if given.device == "cpu":
        print("TF32 against fp32: not measured, no GPU")
        return True
    print(f"largest difference in AUROC of TF32 scoring against fp32: {moved:.4f} over all settings")
    enough = rates[fast] >= LEAST_IMAGES or "H200" not in device.chip or given.network != "unet-cifar"
    return ratio >= LEAST_FASTER and moved <= MOST_MOVED and enough


if __name__ == "__main__":
    raise SystemExit(not main())
