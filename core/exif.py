"""What a camera wrote beside the pixels: which camera it was, and when it took the picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import PIL.Image

_MAKE, _MODEL, _SERIAL = 0x010F, 0x0110, 0xA431
_EXIF_BLOCK, _TAKEN, _TAKEN_FRACTION = 0x8769, 0x9003, 0x9291

LONGEST_CAMERA = 100
"""Characters of a camera's name that are kept: whoever wrote the file chose them."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Which camera took a picture, and when.

    Attributes:
        camera: maker, model and serial number as far as they are written; empty: not known.
        seconds: since 1970 by the camera's own clock, with fractions where it wrote them; None: not known.
    """

    camera: str = ""
    seconds: float | None = None


UNKNOWN_SHOT = Shot()


def shot_of(image: PIL.Image.Image) -> Shot:
    """Return what the EXIF block of a Pillow image says; a block that is missing or damaged says nothing."""
    try:
        exif = image.getexif()
        block = exif.get_ifd(_EXIF_BLOCK)
    except Exception:  # damaged bytes can make a parser raise anything; image viewers pass over such a block, too
        return UNKNOWN_SHOT
    words = dict.fromkeys(_text(part) for part in (exif.get(_MAKE), exif.get(_MODEL), block.get(_SERIAL)))
    camera = " ".join(filter(None, words))[:LONGEST_CAMERA]
    return Shot(camera, _seconds(_text(block.get(_TAKEN)), _text(block.get(_TAKEN_FRACTION))))


def _text(value: Any) -> str:
    """Return printable text in one line; of anything else nothing."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())


def _seconds(taken: str, fraction: str) -> float | None:
    if not re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", taken, re.ASCII):
        return None
    try:
        moment = datetime.strptime(taken, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:  # 0000:00:00 stands for a clock that was never set
        return None
    digits = re.match(r"\d{0,6}", fraction, re.ASCII)
    return moment.timestamp() + (float(f"0.{digits[0]}") if digits and digits[0] else 0.0)
