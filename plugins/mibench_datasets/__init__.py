"""The bundled datasets."""

from mibench import hookimpl
from mibench_datasets.digits import Digits
from mibench_datasets.swiss_roll import SwissRoll

__all__ = ["Digits", "SwissRoll"]


@hookimpl
def mibench_datasets():
    """Swiss roll and digits."""
    return [SwissRoll, Digits]
