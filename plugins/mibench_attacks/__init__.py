"""The bundled attacks."""

from mibench import Attack, hookimpl
from mibench_attacks.adaptive import Adaptive
from mibench_attacks.audit import Audit
from mibench_attacks.averaged import Averaged
from mibench_attacks.blind import Blind
from mibench_attacks.clid import CLiD
from mibench_attacks.frequency_filter import FrequencyFilter
from mibench_attacks.gsa import GSA
from mibench_attacks.likelihood import Likelihood
from mibench_attacks.lira import LiRA
from mibench_attacks.loss import Loss
from mibench_attacks.loss_vector import LossVector
from mibench_attacks.nearest import NearestSamples
from mibench_attacks.pfami import PFAMI
from mibench_attacks.pia import PIA
from mibench_attacks.pian import PIAN
from mibench_attacks.quantile import Quantile
from mibench_attacks.rediffuse import ReDiffuse
from mibench_attacks.rmia import RMIA
from mibench_attacks.secmi import SecMI
from mibench_attacks.sima import SimA

__all__ = ["ATTACKS"]

ATTACKS: list[type[Attack]] = [
    Blind,
    Loss,
    SecMI,
    PIA,
    Likelihood,
    PIAN,
    SimA,
    PFAMI,
    ReDiffuse,
    NearestSamples,
    LossVector,
    Quantile,
    LiRA,
    RMIA,
    GSA,
    FrequencyFilter,
    Adaptive,
    Audit,
    Averaged,
    CLiD,
]


@hookimpl
def mibench_attacks() -> list[type[Attack]]:
    """Every attack of this package."""
    return ATTACKS
