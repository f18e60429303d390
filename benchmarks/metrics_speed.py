"""Time of the AUROC and its companions on 25 000 members and 25 000 non-members, on one thread.

The AUROC must take less than 20 ms; the program fails otherwise. Sorting and binary search in NumPy are
single-threaded.
"""

import sys
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np

from mibench.metrics.auroc import auroc, auroc_interval, paired_test
from mibench.metrics.scores import ranks
from mibench.metrics.thresholds import tpr_interval

LIMIT = 0.020


def seconds(call, repetitions=21):
    """Median wall-clock time of a call."""
    times = []
    for _ in range(repetitions):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return median(times)


def main() -> int:
    """Print one line per function and return 1 where the AUROC is too slow."""
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(0.3, size=25_000), rng.normal(size=25_000)
    tied = np.round(members, 2), np.round(nonmembers, 2)
    calls = {
        "auroc": partial(auroc, members, nonmembers),
        "auroc, tied scores": partial(auroc, *tied),
        "auroc_interval": partial(auroc_interval, members, nonmembers),
        "tpr_interval at 0.1 %": partial(tpr_interval, members, nonmembers, 0.001),
        "paired_test": partial(paired_test, members, nonmembers, *tied),
        "ranks": partial(ranks, members, nonmembers),
    }
    times = {name: seconds(call) for name, call in calls.items()}
    for name, time in times.items():
        print(f"{name:24} {1000 * time:7.2f} ms")
    return int(max(times["auroc"], times["auroc, tied scores"]) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
