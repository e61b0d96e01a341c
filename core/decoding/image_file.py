"""From the bytes of an image file to its pixels, within limits; what cannot be read is an ImageError that says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

import PIL.Image
from PIL.TiffImagePlugin import TiffImageFile

from consilience.core.decoding.apart import decoded_apart
from consilience.core.decoding.bounded_work import PIXEL_ROOM, READ_AT_ONCE, EndingFile
from consilience.core.decoding.jpeg_scans import count_scans
from consilience.core.decoding.png_texts import without_texts
from consilience.core.decoding.tiff_bands import TiffBands, check_tiles
from consilience.core.errors import ImageError, MissingExtraError, import_extra
from consilience.core.exif import UNKNOWN_SHOT, Shot, shot_of
from consilience.core.image_limits import ImageLimits
from consilience.core.pixels import Pixels, rgb_from_array, rgb_from_pillow, turned

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")
"""The only decoders of Pillow that may run (JPEG includes MPO, PPM includes PGM and PBM)."""

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "WEBP": rb"RIFF.{4}WEBP",
    "TIFF": rb"II\*\0|MM\0\*",
    "GIF": rb"GIF8",
    "AVIF": rb".{4}ftypavi[fs]",
    "HEIC": rb".{4}ftyp(hei|hev|mif1|msf1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "DICOM": rb".{128}DICM",
    "PSD": rb"8BPS",
    "EPS": rb"%!PS",
    "PDF": rb"%PDF",
    "ICO": rb"\0\0\x01\0",
    "SVG or other XML": rb"\s*<(svg|\?xml)",
}
"""How files begin: to say whether one is damaged or of an unsupported format. Text can begin like BMP and PPM."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFile:
    """What an image file holds.

    Attributes:
        pixels: uint8, (height, width, 3), RGB, upright.
        shot: which camera took it, and when.
        note: how its values were read, where the file left that open; empty: it did not.
    """

    pixels: Pixels
    shot: Shot
    note: str = ""


def check_bytes(size: int, limits: ImageLimits, name: str) -> None:
    """Refuse an empty or too large file. Raises ImageError."""
    if size == 0:
        raise ImageError(f"{name!r} is empty (0 bytes); save or download it again")
    if size > limits.max_bytes:
        raise ImageError(
            f"{name!r} has more than the {limits.max_bytes:,} bytes allowed; store it smaller or raise max_bytes"
        )


def check_size(width: int, height: int, limits: ImageLimits, name: str) -> None:
    """Refuse an image by its width and height. Raises ImageError."""
    size = f"{name!r} is {width:,} x {height:,} pixels"
    if min(width, height) < limits.min_side:
        raise ImageError(f"{size}; each side must have at least {limits.min_side} (min_side)")
    if max(width, height) > limits.max_side:
        raise ImageError(f"{size}; a side may have at most {limits.max_side:,}: scale it down or raise max_side")
    if width * height > limits.max_pixels:
        raise ImageError(f"{size}; at most {limits.max_pixels:,} are allowed: scale it down or raise max_pixels")


def decoded(data: bytes, limits: ImageLimits, name: str) -> DecodedFile:
    """Return what the bytes of an image file hold.

    Raises:
        ImageError: they hold no image, a damaged one, or one over a limit; `name` is what the message calls it.
    """
    check_bytes(len(data), limits, name)
    if re.match(_SIGNATURES["HEIC"], data, re.DOTALL):
        return _from_heic(data, limits, name)
    if data.startswith(b"\xff\xd8") and count_scans(data, limits.max_scans) > limits.max_scans:
        raise ImageError(
            f"{name!r} is a JPEG of more than {limits.max_scans} scans (max_scans), each of which costs time; store it "
            "as a plain JPEG"
        )
    if (bands := TiffBands.found_in(data, name)) is not None:
        return _from_bands(bands, limits, name)
    image = _opened(without_texts(data, name), limits, name)
    if image.format == "AVIF":
        file = _from_apart(data, "AVIF", image.size, limits, name)
    else:
        file = from_pillow(image, limits, name)
    return replace(file, note="; ".join(filter(None, (file.note, _note_on_more_pictures(image)))))


def decoding_work(data: bytes, limits: ImageLimits) -> int | None:
    """Return how many pixels decoding goes through, of a JPEG once for each scan; None: the file does not tell."""
    scans = count_scans(data, limits.max_scans) if data.startswith(b"\xff\xd8") else 1
    try:
        image = _opened(data, limits, "image")
    except ImageError:
        return None
    return image.width * image.height * scans


def from_pillow(image: PIL.Image.Image, limits: ImageLimits, name: str) -> DecodedFile:
    """Return what a Pillow image holds, which is decoded now if it was not before. Errors as of `decoded`."""
    check_size(*image.size, limits, name)
    with PIXEL_ROOM.holding(image.width * image.height, limits.max_pixels_at_once), _damage_named(name):
        pixels, note = rgb_from_pillow(image, name, limits.grey_bits)
    return DecodedFile(pixels, shot_of(image), note)


def _opened(data: bytes, limits: ImageLimits, name: str) -> PIL.Image.Image:
    """Return a Pillow image that is not decoded yet."""
    try:
        image = PIL.Image.open(EndingFile(data, limits.decode_seconds, name), formats=FORMATS)
    except PIL.UnidentifiedImageError as cause:
        raise ImageError(_why_unidentified(data, name)) from cause
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as cause:
        raise ImageError(
            f"{name!r} declares more pixels than the {limits.max_pixels:,} allowed ({cause}); scale it down"
        ) from cause
    except ImageError:
        raise
    except Exception as cause:  # damaged bytes can make a decoder raise anything; none of it may pass as an image
        raise ImageError(f"{name!r} has a truncated or damaged header ({cause}); save or download it again") from cause
    image.decodermaxblock = READ_AT_ONCE
    if isinstance(image, TiffImageFile):
        with _damage_named(name):
            check_tiles(image.tag_v2, limits, name)
    return image


def _from_bands(bands: TiffBands, limits: ImageLimits, name: str) -> DecodedFile:
    width, height = bands.size
    check_size(width, height, limits, name)
    if (values := width * height * bands.count) > 4 * limits.max_pixels:
        raise ImageError(f"{name!r} has {values:,} values in {bands.count} bands; cut it, or raise max_pixels")
    is_colour = bands.count == 3
    chosen = (1, 2, 3) if is_colour or limits.bands is None else limits.bands
    with PIXEL_ROOM.holding(values // 3, limits.max_pixels_at_once), _damage_named(name):
        raw = bands.read(chosen, lambda data: _opened(data, limits, name))
        pixels, note = rgb_from_array(raw, name, limits.grey_bits)
        pixels = turned(pixels, bands.orientation)
    if not is_colour:
        red, green, blue = chosen
        shown = f"{bands.count} bands: {red}, {green} and {blue} are shown as red, green and blue (images.bands)"
        note = "; ".join(filter(None, (shown, note)))
    return DecodedFile(pixels, UNKNOWN_SHOT, note)


def _from_heic(data: bytes, limits: ImageLimits, name: str) -> DecodedFile:
    """Decode a photo of an iPhone, with the package of the extra `heic`."""
    try:
        pillow_heif = import_extra("pillow_heif", "heic")
    except MissingExtraError as cause:
        raise ImageError(f"{name!r} is HEIC: {cause}; or convert it to JPEG") from cause
    with _damage_named(name):
        size = pillow_heif.open_heif(data).size
    return _from_apart(data, "HEIC", size, limits, name)


def _from_apart(data: bytes, kind: str, size: tuple[int, int], limits: ImageLimits, name: str) -> DecodedFile:
    """Decode a file of this size in a process that can be ended."""
    check_size(*size, limits, name)
    with PIXEL_ROOM.holding(size[0] * size[1], limits.max_pixels_at_once), _damage_named(name):
        image = decoded_apart(data, kind, limits.decode_seconds, name, partial(check_size, limits=limits, name=name))
    return from_pillow(image, limits, name)


def _note_on_more_pictures(image: PIL.Image.Image) -> str:
    """Return that the file of a decoded image holds further pictures; those of a photo (MPO) are previews."""
    with suppress(Exception):  # what comes after the first picture may be damaged, and is not looked at
        if image.format != "MPO" and getattr(image, "is_animated", False):
            return "the file holds several pictures, of which the first is looked at"
    return ""


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises for damaged bytes into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Exception as cause:
        raise ImageError(f"{name!r} is truncated or damaged ({cause}); save or download it again") from cause


def _why_unidentified(data: bytes, name: str) -> str:
    kind = next((kind for kind, start in _SIGNATURES.items() if re.match(start, data, re.DOTALL)), None)
    if kind in FORMATS:
        return f"{name!r} begins like {kind}, but is truncated or damaged in its header; save or download it again"
    supported = ", ".join((*FORMATS, "HEIC"))
    if kind is not None:
        return f"{name!r} is {kind}, which is an unsupported format; convert it to one of {supported}"
    return f"{name!r} is not an image, whatever its name says, or of an unsupported format (supported: {supported})"
