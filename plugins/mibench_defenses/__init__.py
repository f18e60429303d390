"""The bundled defenses."""

from mibench import Defense, hookimpl
from mibench_defenses.cld import CLD
from mibench_defenses.hold import HOLD
from mibench_defenses.ve import VE
from mibench_defenses.vp import VP

__all__ = ["CLD", "HOLD", "VE", "VP"]


@hookimpl
def mibench_defenses() -> list[type[Defense]]:
    """VP, VE, CLD and HOLD."""
    return [VP, VE, CLD, HOLD]
