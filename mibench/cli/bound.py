"""``mibench bound``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mibench.cli.common import add_plugins
from mibench.errors import UsageError

__all__ = ["arguments", "main"]

Curve = list[tuple[float, float, float, float]]

COVERS = (
    "The bound covers one release of one noised state u_t with its auxiliary variables, against any attacker. It\n"
    "does not cover the trained network, which has seen every member many times at every t, nor the samples that it generates."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "--defense", required=True, metavar="NAME", help="a defense, such as hold3 or hold:order=3,epsilon_num=1e-3"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the defense; repeatable",
    )
    parser.add_argument("--orders", metavar="N,N", help="compare these orders of the defense, such as 1,2,3")
    parser.add_argument(
        "--diameter", type=float, default=1.0, metavar="Δ", help="largest distance between two data items (default: 1)"
    )
    parser.add_argument("--alpha", type=float, default=2.0, metavar="α", help="Rényi order, above 1 (default: 2)")
    parser.add_argument(
        "--delta", type=float, default=1e-5, metavar="δ", help="δ of (ε, δ), between 0 and 1 (default: 1e-5)"
    )
    parser.add_argument(
        "--times", type=int, default=9, metavar="N", help="rows of the table, evenly spaced in log t (default: 9)"
    )
    parser.add_argument("--plot", default="bound.png", metavar="FILE", help="file of the plot (default: bound.png)")
    add_plugins(parser)


def main(args: argparse.Namespace) -> int:
    """Print Δf_t, D_α and ε for each order, and plot them over t."""
    from mibench.errors import MibenchError

    _check(args)
    curves = {}
    for defense in _defenses(args):
        curves[defense.label], initial_noise = _curve(defense, args)
        _print_curve(defense.label, curves[defense.label], initial_noise, args)
    print(COVERS)
    try:
        _plot(curves, args.alpha, args.delta, Path(args.plot))
    except (OSError, ValueError) as error:
        raise MibenchError(f"cannot write {args.plot}: {error}; choose another --plot") from None
    print(f"wrote {args.plot}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """UsageError where a number is out of range or the plot's file has no ending."""
    for name, value, fine in (
        ("diameter", args.diameter, 1e-30 < args.diameter < 1e30),
        ("alpha", args.alpha, 1 < args.alpha < 1e30),
        ("delta", args.delta, 1e-300 < args.delta < 1),
        ("times", args.times, args.times >= 2),
    ):
        if not fine:
            raise UsageError(f"--{name} {value} is out of range (see mibench bound --help)")
    if not Path(args.plot).suffix or Path(args.plot).is_dir():
        raise UsageError(f"--plot {args.plot}: give a file with an ending, such as bound.png")


def _defenses(args: argparse.Namespace) -> list[Any]:
    """The defense that is named, or one of each order."""
    from mibench.names import build, validated
    from mibench.plugins import load

    separator = "," if ":" in args.defense else ":"
    label = args.defense + (separator + ",".join(args.option) if args.option else "")
    base: Any = build(load(tuple(args.plugin)), "defense", label)
    if args.orders is None:
        return [base]
    if base.shorthand != "order":
        raise UsageError(f"{base.name} has no orders; leave --orders out")
    try:
        orders = [int(word) for word in args.orders.split(",")]
    except ValueError:
        raise UsageError(f"--orders {args.orders}: expected whole numbers such as 1,2,3") from None
    if len(set(orders)) < len(orders) or min(orders) < 1:
        raise UsageError(f"--orders {args.orders}: expected different numbers of at least 1")
    return [validated(type(base), base.model_dump() | {"order": n}, f"defense {base.name}") for n in orders]


def _curve(defense: Any, args: argparse.Namespace) -> tuple[Curve, float]:
    """t, Δf_t, D_α and ε at 200 times, even in log t, and the variance of the data's noise at t = 0."""
    import math

    import torch

    from mibench.diffusion.privacy import distinguishability, epsilon, renyi

    try:
        process = defense.process()
    except ValueError as error:
        raise UsageError(f"{defense.label} makes no valid process: {error}") from None
    t = torch.logspace(math.log10(process.t_min), math.log10(process.horizon), 200, dtype=torch.float64)
    t = t.clamp(process.t_min, process.horizon)
    gap = distinguishability(process, t, args.diameter)
    if not (gap < 1e100).all():
        raise UsageError(f"{defense.label}: Δf_t reaches {gap.max().item():.0e}, which says nothing of privacy")
    points = zip(t.tolist(), gap.tolist(), strict=True)
    return [(t, df, renyi(df, args.alpha), epsilon(df, args.delta)) for t, df in points], process.initial[0].item()


def _print_curve(label: str, curve: Curve, initial_noise: float, args: argparse.Namespace) -> None:
    from mibench.leaderboard.text import columns

    print(f"{label}, Δ = {args.diameter:g}")
    points = [curve[round(k * (len(curve) - 1) / (args.times - 1))] for k in range(args.times)]
    header = ("t", "Δf_t", f"D_{args.alpha:g}", f"ε (δ={args.delta:g})")
    print(columns([[f"{value:.4g}" for value in point] for point in points], header, right=range(4)))
    if initial_noise:
        print(f"limit at t = 0: Δ²/ε_num = {args.diameter**2 / initial_noise:.4g}\n")
    else:
        print("no limit at t = 0: ε_num is 0\n")


def _plot(curves: dict[str, Curve], alpha: float, delta: float, path: Path) -> None:
    """Δf_t, the Rényi divergence and ε over t, one line per defense."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = ("Δf_t", f"D_α, α = {alpha:g} (nats)", f"ε at δ = {delta:g}")
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6))
    for column, (axis, title) in enumerate(zip(axes, titles, strict=True), start=1):
        for label, rows in curves.items():
            axis.loglog([row[0] for row in rows], [row[column] or float("nan") for row in rows], label=label)
        axis.set(title=title, xlabel="t")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
