"""The report of an audit: one page, in HTML and in Markdown, which asks for nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.auditing.result import AttackRow, Audit
from mibench.files import write_text

__all__ = ["Pictures", "write_report"]

Pixels = NDArray[np.uint8] | None


@dataclass(frozen=True)
class Pictures:
    """A file and the sample of the model that is nearest to it, (height, width, 3) each; None where there is no picture."""

    file: Pixels
    sample: Pixels


def write_report(out: Path, audit: Audit, pictures: list[Pictures]) -> None:
    """Write report.md and report.html into a folder."""
    from jinja2 import Environment

    templates = files("mibench.auditing").joinpath("templates")
    shown = [{"file": _embedded(one.file), "sample": _embedded(one.sample)} for one in pictures]
    for name, escape in (("report.md", False), ("report.html", True)):
        environment = Environment(autoescape=escape, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"figure": figure, "span": span, "p": p_value, "rate": lowest_rate}
        template = environment.from_string(templates.joinpath(name + ".j2").read_text(encoding="utf-8"))
        write_text(out / name, template.render(audit=audit, pictures=shown, limits=LIMITS, steps=next_steps(audit)))


LIMITS = (
    "An AUROC near .5 does not show that nothing leaks: a stronger attack, or one with the training at hand, may find more.",
    "Figures hold for the files that were given, and for non-members like them.",
    "Attacks that train shadow models were not run, since the training of this model is not known.",
    "The loading check shows that the network denoises the members as it is set up to, not that it was trained on them.",
)


def next_steps(audit: Audit) -> list[str]:
    """What to do next."""
    if audit.verdict == "split":
        return [
            "Choose non-members from the same source as the members, saved and resized by the same program, and audit again.",
            "Until then use none of the AUROCs below.",
        ]
    steps = []
    if audit.verdict == "leaks":
        steps.append(
            "Look at the files that leak most, and at copies of them among the training files (near duplicates)."
        )
        steps.append(
            "Train with fewer steps, more data or a defense (mibench ls measures), and audit that model again."
        )
        if audit.worst:
            steps.append("Decide who may ask the network: attacks of a tier need that access, see the table.")
    else:
        steps.append("Audit with more files: intervals shrink with the square root of their number.")
        steps.append("If the training can be repeated, run mibench with shadow models (lira, rmia) on it.")
    return steps


def figure(value: float | None, digits: int = 3) -> str:
    """Such as "0.734"; "–" where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(interval: tuple[float, float] | None, digits: int = 3) -> str:
    """Such as "[0.700, 0.766]"."""
    return "" if interval is None else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def p_value(value: float) -> str:
    """Such as "p = 0.013" or "p < 1e-9"."""
    if value < 1e-9:
        return "p < 1e-9"
    return f"p = {value:.2g}"


def lowest_rate(row: AttackRow, fpr: float = 0.01) -> str:
    """The TPR at a false positive rate with its interval, or "–" where there are too few files."""
    for rate, (value, interval) in row.tpr.items():
        if float(rate) == fpr and value is not None:
            return f"{value:.3f} {span(interval, 2)}".strip()
    return "–"


def _embedded(pixels: Pixels) -> str | None:
    """A picture as the address of a PNG inside the page."""
    if pixels is None:
        return None
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    options: dict[str, Any] = {"format": "png"}
    imsave(buffer, pixels, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
