"""The bundled measures of training and release."""

from mibench import Measure, hookimpl
from mibench_measures.augment import Augment
from mibench_measures.dedup import Dedup
from mibench_measures.distill import Distill
from mibench_measures.dp_sgd import DPSGD
from mibench_measures.dropout import Dropout
from mibench_measures.early import Early
from mibench_measures.flood import Flood
from mibench_measures.jitter import Jitter
from mibench_measures.mixup import Mixup
from mibench_measures.output_noise import OutputNoise
from mibench_measures.raw_weights import RawWeights
from mibench_measures.rounding import Round
from mibench_measures.spec_augment import SpecAugment
from mibench_measures.weight_decay import WeightDecay

__all__ = [
    "DPSGD",
    "Augment",
    "Dedup",
    "Distill",
    "Dropout",
    "Early",
    "Flood",
    "Jitter",
    "Mixup",
    "OutputNoise",
    "RawWeights",
    "Round",
    "SpecAugment",
    "WeightDecay",
]


@hookimpl
def mibench_measures() -> list[type[Measure]]:
    """All of them."""
    return [
        Augment,
        Dedup,
        Distill,
        DPSGD,
        Dropout,
        Early,
        Flood,
        Jitter,
        Mixup,
        OutputNoise,
        RawWeights,
        Round,
        SpecAugment,
        WeightDecay,
    ]
