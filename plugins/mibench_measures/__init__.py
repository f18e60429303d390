"""The bundled measures of training and release."""

from mibench import Measure, hookimpl
from mibench_measures.dp_sgd import DPSGD
from mibench_measures.dropout import Dropout
from mibench_measures.early import Early
from mibench_measures.raw_weights import RawWeights
from mibench_measures.weight_decay import WeightDecay

__all__ = ["DPSGD", "Dropout", "Early", "RawWeights", "WeightDecay"]


@hookimpl
def mibench_measures() -> list[type[Measure]]:
    """All of them."""
    return [DPSGD, Dropout, Early, RawWeights, WeightDecay]
