"""Σ_qq, SNR and L_nn of HOLD(n) over t, n = 1…6: ``.venv/bin/python benchmarks/plot_dynamics.py`` redraws docs/dynamics.png."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from mibench_defenses import HOLD


def main() -> None:
    """Draw the picture."""
    t = torch.logspace(-3, torch.log10(torch.tensor(5.0)).item(), 300, dtype=torch.float64).clamp(max=5)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for n in range(1, 7):
        kernel = HOLD(order=n).process().kernel(t)
        curves = (kernel.factor[:, 0, 0].square(), kernel.log_snr.exp(), kernel.factor[:, -1, -1])
        for axis, curve in zip(axes, curves, strict=True):
            axis.loglog(t, curve, label=f"n = {n}")
    for axis, title in zip(axes, ("Σ_qq", "SNR = |a|²", "L_nn"), strict=True):
        axis.set(title=title, xlabel="t")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig("docs/dynamics.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
