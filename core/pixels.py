"""How the pixels of any image become 8-bit RGB.

- EXIF orientation is applied; an EXIF block that cannot be read counts as none, as in image viewers.
- Grey and black-and-white: the value three times.
- 16 bits a channel: the high byte, so 0..65535 becomes 0..255; never stretched to the range in use.
- 32-bit integers (Pillow's "I"): taken as 16-bit if all lie in 0..65535, else refused.
- Floating point: [0, 1] becomes 0..255, rounded; anything else, NaN included, is refused.
- Transparency, in a palette too: laid on white. (In 16-bit files only an alpha channel counts, no transparent colour.)
- CMYK, YCbCr, HSV: Pillow's plain conversion; embedded colour profiles are not used.
- Animations and stacks: the first frame.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image

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


def rgb_from_pillow(image: PIL.Image.Image, name: str) -> Pixels:
    """Return the pixels of a Pillow image, upright: uint8, (height, width, 3), RGB.

    Raises:
        ImageError: its values have no stated range; `name` is what the message calls it.
        Exception: whatever the decoder raises for a damaged file.
    """
    image.load()
    image = _upright(image)
    if image.mode[0] in "IF":
        values = np.asarray(image)
        return rgb_from_array(_sixteen_bit(values, name) if image.mode == "I" else values, name)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = PIL.Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def rgb_from_array(array: npt.NDArray[Any], name: str) -> Pixels:
    """Return the pixels of an array: uint8, (height, width, 3), RGB; it may be the array itself.

    Args:
        array: (height, width), or (height, width, channels) with 1, 3 (RGB) or 4 (RGBA) channels; uint8, uint16,
            bool, or floats in [0, 1].
        name: what the array is called in messages.

    Raises:
        ImageError: its shape, dtype or range is another one.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{name!r} has shape {array.shape} ({array.dtype}); "
            "pass (height, width) or (height, width, channels) with 1, 3 or 4 channels"
        )
    pixels = _eight_bit(array, name)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    channels = pixels.shape[2]
    if channels == 4:
        return rgb_from_pillow(PIL.Image.fromarray(np.ascontiguousarray(pixels)), name)
    return pixels if channels == 3 else np.repeat(pixels, 3, axis=2)


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


def _eight_bit(array: npt.NDArray[Any], name: str) -> Pixels:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if (kind, size) == ("u", 1):
        return array
    if (kind, size) == ("u", 2):
        array = array >> 8
    elif kind == "b":
        array = array * np.uint8(255)
    elif kind == "f":
        if not ((array >= 0) & (array <= 1)).all():  # false for NaN too
            raise ImageError(f"{name!r} ({array.dtype} {array.shape}) has values outside [0, 1] or NaN; scale it first")
        array = np.rint(array * 255)
    else:
        raise ImageError(
            f"{name!r} has dtype {array.dtype} (shape {array.shape}); pass uint8, uint16, bool or floats in [0, 1]"
        )
    return array.astype(np.uint8)
