"""The bundled datasets."""

from mibench import Dataset, hookimpl
from mibench_datasets.by_class import Cifar10ByClass, DigitsByClass, ImagesByFolder
from mibench_datasets.cifar10 import Cifar10
from mibench_datasets.digits import Digits
from mibench_datasets.images import Images
from mibench_datasets.ljspeech import LJSpeech
from mibench_datasets.speech import Speech
from mibench_datasets.swiss_roll import SwissRoll

__all__ = [
    "Cifar10",
    "Cifar10ByClass",
    "Digits",
    "DigitsByClass",
    "Images",
    "ImagesByFolder",
    "LJSpeech",
    "Speech",
    "SwissRoll",
]


@hookimpl
def mibench_datasets() -> list[type[Dataset]]:
    """Points, images, with classes and without, and speech."""
    return [SwissRoll, Digits, DigitsByClass, Images, ImagesByFolder, Cifar10, Cifar10ByClass, Speech, LJSpeech]
