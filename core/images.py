"""Loading images: any source becomes 8-bit RGB pixels (how: pixels.py) with an identity, or an ImageError is raised."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image

from consilience.core.errors import ImageError
from consilience.core.exif import UNKNOWN_SHOT, Shot, shot_of
from consilience.core.image_limits import DEFAULT_LIMITS, ImageLimits
from consilience.core.image_quality import Measures, measured
from consilience.core.pixels import Pixels, rgb_from_array, rgb_from_pillow

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")
"""The only decoders that may run (JPEG includes MPO, PPM includes PGM and PBM)."""

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

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A decoded image.

    Attributes:
        pixels: uint8, (height, width, 3), RGB, C-contiguous, read-only.
        identity: SHA-256 of the shape and the pixels, in hex: equal pixels have equal identities, whatever
            file they came from. (Half the time of BLAKE2b on a processor with SHA instructions.)
        source: the path, the URL without its query, or what else it was ('array', 'bytes', ...).
        shot: which camera took it, and when, as far as the file says.
    """

    pixels: Pixels = field(repr=False)
    identity: str
    source: str
    shot: Shot = field(default=UNKNOWN_SHOT, repr=False)
    _jpegs: dict[int, bytes] = field(default_factory=dict, init=False, repr=False)
    _measures: list[Measures] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def from_pixels(cls, pixels: npt.NDArray[Any], source: str = "array") -> Image:
        """Return an image of a copy of `pixels`: uint8, (height, width, 3), RGB. `ImageLimits` are not applied.

        Raises:
            ImageError: the shape or dtype is another one, or there are no pixels.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ImageError(
                f"{source}: RGB pixels are uint8 of shape (height, width, 3), not {pixels.dtype} {pixels.shape}"
            )
        return _sealed(pixels.copy(), source)

    @property
    def measures(self) -> Measures:
        """What tells whether it can be judged, see `core.image_quality`: float32 (k,); measured once."""
        if not self._measures:
            self._measures.append(measured(self.pixels))
        return self._measures[0]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def scaled(self, side: int) -> PIL.Image.Image:
        """Return an RGB picture whose longer side is at most `side` pixels: same aspect ratio, never enlarged."""
        small = PIL.Image.fromarray(self.pixels)
        small.thumbnail((side, side))
        return small

    def thumbnail(self, side: int = 96) -> bytes:
        """Return `scaled(side)` as a JPEG of quality 85; each size is made once, since several agents send the same."""
        if side not in self._jpegs:
            jpeg = io.BytesIO()
            self.scaled(side).save(jpeg, "JPEG", quality=85)
            self._jpegs[side] = jpeg.getvalue()
        return self._jpegs[side]


class Readable(Protocol):
    """A file object, open in binary mode."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes; b"" or None at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """A source of an image with a name of its own.

    Attributes:
        holder: the source, as `load_image` takes it.
        name: what the image is called in errors and as its `source`.
    """

    holder: ImageSource
    name: str


ImageSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | PIL.Image.Image
    | npt.NDArray[Any]
    | Readable
    | Image
    | Named
)


def load_image(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS, name: str | None = None) -> Image:
    """Return the image that a path, a URL, bytes, a file object, a Pillow image or an array holds.

    Args:
        source: a path; an http(s) URL; the bytes of a file; a binary file object, read from where it stands;
            a Pillow image; an array (height, width), or with 1, 3 (RGB) or 4 (RGBA) channels, of uint8, uint16,
            bool or floats in [0, 1]; one of these with a name of its own; or an Image, which is returned as it is.
        limits: bounds on its bytes, pixels and sides, and on fetching it; an image beyond them is refused.
        name: what to call it in errors and as its `source`.

    Raises:
        ImageError: it cannot be read, or is over a limit; the message names it, the cause and the remedy.
        FetchError: a URL is refused, cannot be reached or answers wrongly.
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, Named):
        return load_image(source.holder, limits, name or source.name)
    if isinstance(source, PIL.Image.Image):
        return _from_pillow(source, limits, name or str(getattr(source, "filename", "")) or "Pillow image")
    if isinstance(source, np.ndarray):
        return _from_array(source, limits, name or "array")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decoded(bytes(source), limits, name or "bytes")
    if isinstance(source, str) and _URL.match(source):
        from consilience.core.fetch import fetch_image_bytes, without_secrets  # httpcore is not needed for files

        return _decoded(fetch_image_bytes(source, limits), limits, name or without_secrets(source))
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        if len(path) > 4096:
            raise ImageError(f"a text of {len(path):,} characters is no path; decode base64 and pass the bytes")
        return _decoded(_read_path(path, limits, name or path), limits, name or path)
    if hasattr(source, "read"):
        label = getattr(source, "name", None)
        name = name or (label if isinstance(label, str) else "file object")
        return _decoded(_read_file(source, limits, name), limits, name)
    raise ImageError(
        f"a {type(source).__name__} is not a source of an image; "
        "pass a path, an http(s) URL, bytes, a binary file object, a Pillow image or a numpy array"
    )


def _read_path(path: str, limits: ImageLimits, name: str) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name!r} is a directory; pass the path of one image file in it")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could block, or never end
            raise ImageError(f"{name!r} is not a regular file; pass a file, or an open binary file object")
        _check_bytes(status.st_size, limits, name)
        with open(path, "rb") as file:
            return file.read(limits.max_bytes + 1)
    except FileNotFoundError as cause:
        if os.path.islink(path):
            raise ImageError(
                f"{name!r} is a broken symbolic link to {os.readlink(path)!r}; mend or remove it"
            ) from cause
        raise ImageError(f"there is no file {name!r}; check the path") from cause
    except PermissionError as cause:
        raise ImageError(f"{name!r} may not be read; give this user permission to read it") from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        raise ImageError(f"{name!r} cannot be read ({cause}); check the path and the disk") from cause


def _read_file(file: Readable, limits: ImageLimits, name: str) -> bytes:
    chunks: list[bytes] = []
    wanted = limits.max_bytes + 1
    try:
        while wanted > 0 and (chunk := file.read(wanted)):
            if not isinstance(chunk, bytes):
                raise ImageError(f"{name!r} is open in text mode; open it in binary mode ('rb')")
            chunks.append(chunk)
            wanted -= len(chunk)
    except (OSError, ValueError) as cause:  # ValueError: a closed file, or text that is no UTF-8
        raise ImageError(f"{name!r} cannot be read ({cause}); pass an open binary file") from cause
    if not chunks:
        raise ImageError(f"{name!r} is empty from where it stands; seek to its start, or save it again")
    return b"".join(chunks)


def _check_bytes(size: int, limits: ImageLimits, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name!r} is empty (0 bytes); save or download it again")
    if size > limits.max_bytes:
        raise ImageError(
            f"{name!r} has more than the {limits.max_bytes:,} bytes allowed; store it smaller or raise max_bytes"
        )


def _check_size(width: int, height: int, limits: ImageLimits, name: str) -> None:
    size = f"{name!r} is {width:,} x {height:,} pixels"
    if min(width, height) < limits.min_side:
        raise ImageError(f"{size}; each side must have at least {limits.min_side} (min_side)")
    if max(width, height) > limits.max_side:
        raise ImageError(f"{size}; a side may have at most {limits.max_side:,}: scale it down or raise max_side")
    if width * height > limits.max_pixels:
        raise ImageError(f"{size}; at most {limits.max_pixels:,} are allowed: scale it down or raise max_pixels")


def _decoded(data: bytes, limits: ImageLimits, name: str) -> Image:
    _check_bytes(len(data), limits, name)
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.UnidentifiedImageError as cause:
        raise ImageError(_why_unidentified(data, name)) from cause
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as cause:
        raise ImageError(
            f"{name!r} declares more pixels than the {limits.max_pixels:,} allowed ({cause}); scale it down"
        ) from cause
    except Exception as cause:  # damaged bytes can make a decoder raise anything; none of it may pass as an image
        raise ImageError(f"{name!r} has a truncated or damaged header ({cause}); save or download it again") from cause
    return _from_pillow(image, limits, name)


def _why_unidentified(data: bytes, name: str) -> str:
    kind = next((kind for kind, start in _SIGNATURES.items() if re.match(start, data, re.DOTALL)), None)
    if kind in FORMATS:
        return f"{name!r} begins like {kind}, but is truncated or damaged in its header; save or download it again"
    supported = ", ".join(FORMATS)
    if kind is not None:
        return f"{name!r} is {kind}, which is an unsupported format; convert it to one of {supported}"
    return f"{name!r} is not an image, whatever its name says, or of an unsupported format (supported: {supported})"


def _from_pillow(image: PIL.Image.Image, limits: ImageLimits, name: str) -> Image:
    _check_size(*image.size, limits, name)
    try:
        pixels = rgb_from_pillow(image, name)
    except ImageError:
        raise
    except Exception as cause:  # as above
        raise ImageError(f"{name!r} is truncated or damaged ({cause}); save or download it again") from cause
    return _sealed(pixels, name, shot_of(image))


def _from_array(array: npt.NDArray[Any], limits: ImageLimits, name: str) -> Image:
    if array.ndim >= 2:
        _check_size(array.shape[1], array.shape[0], limits, name)
    return Image.from_pixels(rgb_from_array(array, name), name)


def _sealed(pixels: Pixels, source: str, shot: Shot = UNKNOWN_SHOT) -> Image:
    """Return an image of these very pixels, made read-only; nobody else may hold them writable."""
    pixels.setflags(write=False)
    digest = hashlib.sha256(b"%d x %d;" % pixels.shape[:2])
    digest.update(pixels.data)
    return Image(pixels, digest.hexdigest(), source, shot)
