"""A folder, zip or tar of images of any common format, each brought to one size and number of channels."""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from mibench import IMAGE, FileDataset, FileReader, MibenchError

__all__ = ["Images", "decoded", "file_facts", "scaled", "unscaled"]

T = TypeVar("T")

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "AVIF")
"""Formats that are read. Those that start other programs, such as EPS, are not."""

NAMED = re.compile(r"\.(avif|bmp|gif|ico|j2k|jp2|jpe?g|jpe|mpo|p[bgnp]m|png|tiff?|webp)$", re.IGNORECASE)
"""How the names of images end. Other files, such as lists of labels, do not count."""


def scaled(pixels: Tensor) -> Tensor:
    """Uint8 values of any shape as float32 in [−1, 1]: x / 127.5 − 1. ``unscaled`` is its exact inverse."""
    return pixels.float() / 127.5 - 1


def unscaled(x: Tensor) -> Tensor:
    """Values in [−1, 1] as the nearest uint8, clipped."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def decoded(data: bytes, size: int, channels: int) -> NDArray[np.uint8]:
    """The image in a file, (channels, size, size) uint8: its shorter side resized to ``size``, the middle cut out.

    An image of this size keeps its values. EXIF orientation is followed, colour profiles are not. Transparent pixels are laid
    on white. 16 bits are rounded to 8. Only the first frame or page is read.

    Raises:
        ValueError: where it is no image of the formats known, is damaged, or has values of no known range.
        MibenchError: without Pillow.
    """
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise MibenchError("images need Pillow: pip install 'mibench[images]'") from None
    image = _eight_bit(_loaded(data))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    fitted = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(fitted).reshape(size, size, channels).transpose(2, 0, 1)


def file_facts(data: bytes) -> dict[str, float]:
    """What the file of an image says besides its pixels; ValueError where it cannot be read.

    Of JPEGs: the mean and the first entry of each quantisation table, and how the channels are sampled.
    """
    image = _loaded(data, upright=False)
    pixels = image.width * image.height
    facts = {
        f"format {image.format}": 1.0,
        f"mode {image.mode}": 1.0,
        "log size": math.log(len(data)),
        "log bits per pixel": math.log(8 * len(data) / pixels),
        "log width": math.log(image.width),
        "log height": math.log(image.height),
    }
    for k, table in getattr(image, "quantization", {}).items():
        facts |= {f"table {k} mean": sum(table) / len(table), f"table {k} first": table[0]}
    for channel, across, down, _ in getattr(image, "layer", ()):
        facts |= {f"channel {channel} across": across, f"channel {channel} down": down}
    return facts | {f"has {name}": 1.0 for name in image.info if isinstance(name, str)}


def _loaded(data: bytes, upright: bool = True) -> Any:
    """The Pillow image in a file, its orientation followed if it is wanted upright; ValueError where it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # damage is said once, in the error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
        except UnidentifiedImageError:
            raise ValueError("is no image of a known format") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise ValueError(f"has more than {Image.MAX_IMAGE_PIXELS} pixels") from None
        except OSError as error:
            raise ValueError(f"is no readable image ({' '.join(str(error).split())[:120]})") from None
        except Exception:  # decoders of damaged data raise errors of every kind, whose texts explain nothing
            raise ValueError("is no readable image: it is damaged") from None


def _eight_bit(image: Any) -> Any:
    """A Pillow image with values of more than 8 bits brought to 8, others as they are."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"its values from {values.min():g} to {values.max():g} have no known range; save it with 8 or 16 bits"
        )
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


class Images(FileDataset):
    """Images from a folder or archive, in [−1, 1], resized and cut to a square; folders of classes are allowed."""

    name = "images"
    modality = IMAGE
    recipe = {"network": "unet-tiny", "steps": 1000, "batch": 32, "ema": 0.99, "log_snr": (0.0, 2.0)}

    size: int = Field(32, ge=8, le=1024, description="height and width in pixels")
    channels: int = Field(3, description="3 for colour, 1 for grey levels")

    @field_validator("channels")
    @classmethod
    def _one_or_three(cls, channels: int) -> int:
        if channels not in (1, 3):
            raise ValueError("1 or 3")
        return channels

    def counted(self, name: str) -> str | None:
        """Images, by the end of their names."""
        return name if NAMED.search(name) else None

    def pool(self, generator: torch.Generator) -> Tensor:
        """(N, channels, size, size): as many images as are needed, drawn from all, in the order of their names.

        Raises:
            UsageError: without a path.
            MibenchError: naming the file that is no readable image, or saying that there are none or that Pillow is missing.
        """
        pixels = self._drawn(lambda data: decoded(data, self.size, self.channels), generator)
        return scaled(torch.from_numpy(np.stack(pixels)))

    def file_facts(self, generator: torch.Generator) -> list[dict[str, float]]:
        """Format, size, width, height, mode, tables and metadata of each file."""
        return self._drawn(file_facts, generator)

    def _drawn(self, read: Callable[[bytes], T], generator: torch.Generator) -> list[T]:
        """What ``read`` says of each file that is drawn, in the order of their names."""
        archive = self.archive()
        names = self.counted_names(archive, "images")
        needed = self.members + self.nonmembers + self.reference
        drawn = torch.randperm(len(names), generator=generator)[:needed].sort().values.tolist()
        wanted = [names[k] for k in drawn]
        rows = {}
        for name, data in archive.files(wanted):
            try:
                rows[name] = read(data)
            except ValueError as error:
                raise MibenchError(f"{archive.path}: {name} {error}") from None
        return [rows[name] for name in wanted]


class ImageReader(FileReader, of=Images):
    """Single images."""

    dataset: Images

    def read(self, data: bytes) -> Tensor:
        """(channels, size, size) in [−1, 1]; see ``decoded``."""
        return scaled(torch.tensor(decoded(data, self.dataset.size, self.dataset.channels)))

    def describe(self, data: bytes) -> dict[str, float]:
        """See ``file_facts``."""
        return file_facts(data)
