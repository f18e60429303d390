"""The bundled attacks."""

from mibench import hookimpl
from mibench_attacks.likelihood import Likelihood
from mibench_attacks.loss import Loss
from mibench_attacks.pia import PIA
from mibench_attacks.secmi import SecMI

__all__ = ["PIA", "Likelihood", "Loss", "SecMI"]


@hookimpl
def mibench_attacks():
    """Loss threshold, SecMI, PIA and likelihood."""
    return [Loss, SecMI, PIA, Likelihood]
