"""Kinds of data: one file each, with everything that the rest of mibench has to know about a kind."""

from mibench.modality.base import Modality
from mibench.modality.image import IMAGE
from mibench.modality.mel import MEL
from mibench.modality.points import POINTS

__all__ = ["IMAGE", "MEL", "POINTS", "Modality"]
