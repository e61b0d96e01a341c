"""TIFF files of many bands, of multispectral cameras and satellites, and with 16 bits a colour: Pillow reads neither.

The first picture is read a band at a time: an index of the file is written anew, in which the band (or all bands side
by side, where a pixel's values lie together) is a grey picture of its own. So Pillow's decoders do the work, whatever
the compression.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _FORMAT = 322, 323, 324, 325, 339
_RGB, _JPEG = 2, (6, 7)
_KEPT = (_HEIGHT, _COMPRESSION, _STRIPS, _ROWS, _STRIP_BYTES, _TILE_HEIGHT, _TILES, _TILE_BYTES)
MAX_BANDS = 1024


@dataclass(frozen=True)
class TiffBands:
    """The first picture of a TIFF file that has its values in bands.

    Attributes:
        data: the file.
        tags: of its first picture, each a tuple of whole numbers.
        name: what messages call it.
    """

    data: bytes
    tags: dict[int, tuple[int, ...]]
    name: str

    @classmethod
    def found_in(cls, data: bytes, name: str) -> TiffBands | None:
        """Return the bands of a TIFF file; None of any other file, and of one that Pillow reads itself."""
        if not data.startswith(SIGNATURES):
            return None
        try:
            directory = ImageFileDirectory_v2(data[: 16 if data[2:4] in (b"+\0", b"\0+") else 8])
            file = io.BytesIO(data)
            file.seek(directory.next)
            directory.load(file)
            tags = {tag: _whole(directory[tag]) for tag in directory}
        except Exception:  # what is damaged is for Pillow to say, whose parser raises anything
            return None
        bands = cls(data, {tag: values for tag, values in tags.items() if values}, name)
        is_rgb = bands._one(_PHOTOMETRIC) == _RGB
        is_deep = bands.tags.get(_BITS, (1,))[0] > 8 and is_rgb and bands.count == 3
        return bands if bands.count > 4 or (bands.count > 2 and bands._one(_PHOTOMETRIC) < _RGB) or is_deep else None

    @property
    def count(self) -> int:
        """Number of bands."""
        return self._one(_SAMPLES, 1)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._one(_WIDTH), self._one(_HEIGHT)

    @property
    def orientation(self) -> int:
        """How the picture is to be turned, as EXIF says it."""
        return self._one(274, 1)

    def read(self, bands: Sequence[int], opened: Callable[[bytes], PIL.Image.Image]) -> npt.NDArray[Any]:
        """Return bands, numbered from 1: (height, width, number of bands), of the file's own type.

        Args:
            bands: which.
            opened: opens the bytes of a TIFF file of one grey picture.

        Raises:
            ImageError: there is no such band, or they are stored in a way that is not read.
        """
        if missing := [band for band in bands if not 1 <= band <= self.count]:
            raise ImageError(f"{self.name!r} has no band {missing[0]}, but {self.count}: choose others with bands")
        compression, bits = self._one(_COMPRESSION, 1), self.tags.get(_BITS, (1,))
        # Pillow turns the bytes of compressed big-endian floats twice.
        is_turned = compression != 1 and bits[0] == 32 and self.data[:2] == b"MM"
        if self.count > MAX_BANDS or compression in _JPEG or len({*bits}) > 1 or is_turned:
            raise ImageError(f"{self.name!r} keeps {self.count} bands in a way that is not read; save it uncompressed")
        if self._one(_PLANAR, 1) == 2:
            return np.stack([np.asarray(opened(self._alone(band - 1))) for band in bands], axis=2)
        predictor = self._one(_PREDICTOR, 1)
        if predictor not in (1, 2):
            raise ImageError(f"{self.name!r} is compressed with predictor {predictor}; save it uncompressed")
        width, height = self.size
        values = np.asarray(opened(self._side_by_side())).reshape(height, width, self.count)
        if predictor == 2:  # each value is the difference to its left neighbour in the strip or tile
            step = self._one(_TILE_WIDTH, width)
            parts = [values[:, left : left + step] for left in range(0, width, step)]
            values = np.concatenate([np.cumsum(part, axis=1, dtype=values.dtype) for part in parts], axis=1)
        return values[:, :, [band - 1 for band in bands]]

    def _alone(self, band: int) -> bytes:
        """Return a file in which one of the bands that lie one after another is the picture."""
        tags = {tag: self.tags[tag] for tag in _KEPT if tag in self.tags}
        for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
            if tag in tags:
                each = len(tags[tag]) // self.count
                tags[tag] = tags[tag][band * each : (band + 1) * each]
        across = {tag: self.tags[tag] for tag in (_TILE_WIDTH, _PREDICTOR) if tag in self.tags}
        return self._indexed(tags | across | {_WIDTH: self.tags[_WIDTH]})

    def _side_by_side(self) -> bytes:
        """Return a file in which each value of a pixel is a pixel of its own."""
        tags = {tag: self.tags[tag] for tag in _KEPT if tag in self.tags}
        wide = {tag: (self.tags[tag][0] * self.count,) for tag in (_WIDTH, _TILE_WIDTH) if tag in self.tags}
        return self._indexed(tags | wide)

    def _indexed(self, tags: dict[int, tuple[int, ...]]) -> bytes:
        """Return the file with another index, of a grey picture, at its end."""
        tags |= {_BITS: self.tags.get(_BITS, (1,))[:1], _PHOTOMETRIC: (1,), _SAMPLES: (1,)}
        tags |= {_FORMAT: self.tags[_FORMAT][:1]} if _FORMAT in self.tags else {}
        order = "<" if self.data[:2] == b"II" else ">"
        start = len(self.data) + len(self.data) % 2
        after = start + 2 + 12 * len(tags) + 4
        index, values = struct.pack(f"{order}H", len(tags)), b""
        for tag, numbers in sorted(tags.items()):
            packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
            place = packed if len(numbers) == 1 else struct.pack(f"{order}I", after + len(values))
            index += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + place
            values += packed if len(numbers) > 1 else b""
        head = self.data[:2] + struct.pack(f"{order}HI", 42, start)
        return head + self.data[8:] + b"\0" * (start - len(self.data)) + index + b"\0" * 4 + values

    def _one(self, tag: int, default: int = 0) -> int:
        return self.tags.get(tag, (default,))[0]


def check_tiles(tags: Mapping[int, Any], limits: ImageLimits, name: str) -> None:
    """Refuse a TIFF whose tiles are far larger than an image may be: a decoder makes room for a whole one.

    Args:
        tags: of the picture.

    Raises:
        ImageError: they are; `name` is what the message calls it.
    """
    across, down = (int(tags.get(tag, 0)) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    if across * down > limits.max_pixels:
        raise ImageError(f"{name!r} has tiles of {across:,} x {down:,} pixels; save it without tiles")


def _whole(value: Any) -> tuple[int, ...]:
    """Return a tag's whole numbers; none if it holds something else."""
    values = value if isinstance(value, tuple) else (value,)
    return values if all(isinstance(number, int) for number in values) else ()
