"""How the pixels of any image become 8-bit RGB.

- EXIF orientation is applied; an EXIF block that cannot be read counts as none, as in image viewers.
- Grey and black-and-white: the value three times.
- 16 bits of grey, or of a TIFF's colours: the upper eight of the bits in use, which are stated, or else the fewest of
  8, 10, 12, 14 and 16 that hold the values (decoding/grey_depth.py); never stretched further. That is noted.
- 16 bits a colour in other files: the high byte. If the lowest bits alone are in use, that is noted.
- 32-bit integers (Pillow's "I"): taken as 16-bit if all lie in 0..65535, else refused.
- Floating point: [0, 1] becomes 0..255, rounded; anything else, NaN included, is refused.
- Transparency, in a palette too: laid on white. (In 16-bit files only an alpha channel counts, no transparent colour.)
- CMYK, YCbCr, HSV: Pillow's plain conversion; embedded colour profiles are not used.
- More than four bands: three of them (decoding/tiff_bands.py), which is noted.
- Animations and stacks: the first frame.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image

from consilience.core.decoding.grey_depth import eight_bits
from consilience.core.errors import ImageError

Pixels: TypeAlias = npt.NDArray[np.uint8]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation."""


_STRIP = 1_000_000
"""Pixels that are converted at a time, so that large images are not held several times over."""


def rgb_from_pillow(image: PIL.Image.Image, name: str, grey_bits: int | None = None) -> tuple[Pixels, str]:
    """Return the pixels of a Pillow image, upright, uint8 (height, width, 3), RGB, and a note on how they were read.

    Args:
        image: it; decoded now if it was not before.
        name: what messages call it.
        grey_bits: bits in use of 16-bit greys; None: found out.

    Raises:
        ImageError: its values have no stated range.
        Exception: whatever the decoder raises for a damaged file.
    """
    is_deep = ";16" in str(getattr(image, "tile", "")) and image.mode in ("RGB", "RGBA")
    stated = _stated_bits(image) if grey_bits is None else grey_bits
    image.load()
    image = _upright(image)
    if image.mode[0] in "IF":
        values = np.asarray(image)
        return rgb_from_array(_sixteen_bit(values, name) if image.mode == "I" else values, name, stated)
    pixels = np.asarray(image) if image.mode == "RGB" and not image.has_transparency_data else _on_white(image)
    return pixels, _IS_DARK if is_deep and pixels.max(initial=0) < 64 else ""


_IS_DARK = "16 bits a colour, of which the upper ones are not in use, so it is shown dark: save it with 8 bits a colour"


def _stated_bits(image: PIL.Image.Image) -> int | None:
    """Return the bits in use that a TIFF states: by its bits a sample, or by the greatest value that it may hold."""
    tags = getattr(image, "tag_v2", {})
    try:
        bits, greatest = int(tags.get(258, (16,))[0]), tags.get(281)
        bits = (
            min(bits, int(greatest[0] if isinstance(greatest, tuple) else greatest).bit_length()) if greatest else bits
        )
    except (TypeError, ValueError, IndexError):  # a tag of another type states nothing
        return None
    return bits if 8 <= bits < 16 else None


def _on_white(image: PIL.Image.Image) -> Pixels:
    """Return the RGB pixels of an image of any mode, its transparent parts laid on white."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // max(1, image.width))
    is_transparent = image.has_transparency_data
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if is_transparent:
            layer = strip.convert("RGBA")
            strip = PIL.Image.new("RGB", layer.size, "white")
            strip.paste(layer, mask=layer)
        pixels[top : top + rows] = np.asarray(strip.convert("RGB"))
    return pixels


def rgb_from_array(array: npt.NDArray[Any], name: str, grey_bits: int | None = None) -> tuple[Pixels, str]:
    """Return the pixels of an array, uint8 (height, width, 3), RGB, and a note on how they were read.

    They may be the array itself.

    Args:
        array: (height, width), or (height, width, channels) with 1, 3 (RGB) or 4 (RGBA) channels; uint8, uint16,
            bool, or floats in [0, 1].
        name: what the array is called in messages.
        grey_bits: bits in use of uint16; None: found out.

    Raises:
        ImageError: its shape, dtype or range is another one.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{name!r} has shape {array.shape} ({array.dtype}); "
            "pass (height, width) or (height, width, channels) with 1, 3 or 4 channels"
        )
    pixels, note = _eight_bit(array, name, grey_bits)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    channels = pixels.shape[2]
    if channels == 4:
        return rgb_from_pillow(PIL.Image.fromarray(np.ascontiguousarray(pixels)), name)[0], note
    return np.ascontiguousarray(pixels if channels == 3 else np.repeat(pixels, 3, axis=2)), note


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Return pixels, (height, width, 3), upright: `orientation` is as EXIF says it."""
    method = _UPRIGHT.get(orientation)
    return pixels if method is None else np.asarray(PIL.Image.fromarray(pixels).transpose(method))


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, struct.error, KeyError, TypeError, ValueError):  # what Pillow itself expects of broken EXIF
        return image
    return image if method is None else image.transpose(method)


def _sixteen_bit(values: npt.NDArray[np.int32], name: str) -> npt.NDArray[np.uint16]:
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ImageError(f"{name!r} has 32-bit values from {low} to {high}; scale it to 0..65535 or to 8 bits first")
    return values.astype(np.uint16)


def _eight_bit(array: npt.NDArray[Any], name: str, grey_bits: int | None) -> tuple[Pixels, str]:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if (kind, size) == ("u", 1):
        return array, ""
    if (kind, size) == ("u", 2):
        return eight_bits(array, grey_bits)
    if kind == "b":
        array = array * np.uint8(255)
    elif kind == "f":
        if not ((array >= 0) & (array <= 1)).all():  # false for NaN too
            raise ImageError(f"{name!r} ({array.dtype} {array.shape}) has values outside [0, 1] or NaN; scale it first")
        array = np.rint(array * 255)
    else:
        raise ImageError(
            f"{name!r} has dtype {array.dtype} (shape {array.shape}); pass uint8, uint16, bool or floats in [0, 1]"
        )
    return array.astype(np.uint8), ""
