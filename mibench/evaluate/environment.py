"""What decides the bits of a result, besides the code: versions of libraries, device and CPU."""

from __future__ import annotations

import functools
import platform
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from mibench.evaluate import scoring
from mibench.results.facts import Environment

__all__ = ["environment", "machine"]

VERSIONS = {name: version(name) for name in ("mibench", "torch", "numpy", "scipy", "scikit-learn")}
PROCESSOR = ("vendor_id", "model name", "cpu family", "model", "CPU implementer", "CPU part")
"""The lines of /proc/cpuinfo that say which CPU it is, on x86 and on ARM."""


def environment(device: str) -> Environment:
    """That of this process; ``device`` is "cpu" or "cuda"."""
    return Environment(
        python=platform.python_version(),
        **VERSIONS,
        device=device,
        chip=torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        cpu=_cpu(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        blas=_blas(),
        threads=torch.get_num_threads(),
        scoring_batch=scoring.BATCH,
        deterministic=device == "cpu",
    )


def machine() -> str:
    """CPU, instructions and libraries of matrix products, on one line."""
    return f"{_cpu()}; {torch.backends.cpu.get_cpu_capability()}; {_blas()}"


@functools.cache
def _cpu() -> str | None:
    """Such as "GenuineIntel, Intel(R) Xeon(R) Processor, 6, 207"; None where the system does not say."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    return ", ".join(found[name] for name in PROCESSOR if found.get(name)) or platform.processor() or None


@functools.cache
def _blas() -> str:
    """Such as "mkl 2024.2, oneDNN 3.10.2, scipy-openblas 0.3.31": those of torch, then that of numpy."""
    built = torch.__config__.show()
    patterns = {
        "": r"BLAS_INFO=(\w+)",
        "MKL ": r"Math Kernel Library Version ([\d.]+)",
        "oneDNN ": r"MKL-DNN v([\d.]+)",
    }
    found = [name + match[1] for name, pattern in patterns.items() if (match := re.search(pattern, built))]
    numpy = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return ", ".join([*found, f"{numpy.get('name')} {numpy.get('version')}"])
