"""Loading images: any source becomes 8-bit RGB pixels (how: pixels.py) with an identity, or an ImageError is raised."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image

from consilience.core.decoding.image_file import DecodedFile, check_bytes, check_size, decoded, from_pillow
from consilience.core.errors import ImageError
from consilience.core.exif import UNKNOWN_SHOT, Shot
from consilience.core.image_limits import DEFAULT_LIMITS, ImageLimits
from consilience.core.image_quality import Measures, measured
from consilience.core.pixels import Pixels, rgb_from_array

ELONGATED = 4
"""Times as long as broad, from which on an image counts as elongated."""

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
        note: how its values were read, where the source left that open (bits in use, bands); empty: it did not.
    """

    pixels: Pixels = field(repr=False)
    identity: str
    source: str
    shot: Shot = field(default=UNKNOWN_SHOT, repr=False)
    note: str = field(default="", repr=False)
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
        """Return an RGB picture whose longer side is at most `side` pixels: same aspect ratio, never enlarged.

        Of an elongated image the shorter side is kept at a quarter of `side`, so that something can be seen, as long as
        the longer is at most four times `side`: it has no more pixels than a square picture.
        """
        longer, shorter = max(self.width, self.height), min(self.width, self.height)
        bound = min(max(side, side * longer // (ELONGATED * shorter)), ELONGATED * side)
        small = PIL.Image.fromarray(self.pixels)
        small.thumbnail((bound, bound))
        return small

    def thumbnail(self, side: int = 96) -> bytes:
        """Return `scaled(side)` as a JPEG of quality 85; each size is made once, since several agents send the same."""
        if side not in self._jpegs:
            jpeg = io.BytesIO()
            self.scaled(side).save(jpeg, "JPEG", quality=85)
            self._jpegs[side] = jpeg.getvalue()
        return self._jpegs[side]


class ImageNotes:
    """Counts the notes on images, of which many say the same but for a number."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def add(self, image: Image) -> None:
        """Count an image, if there is a note on it."""
        if image.note:
            kind = re.sub(r"greatest value is [\d,]+", "", image.note)
            self._first.setdefault(kind, f"'{image.source}' {image.note}")
            self._counts[kind] += 1

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each kind of note: the first image of it, and how many more there are."""
        return tuple(
            first + (f"; {more:,} more likewise" if (more := self._counts[kind] - 1) else "")
            for kind, first in self._first.items()
        )


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
        name = name or str(getattr(source, "filename", "")) or "Pillow image"
        return _of(from_pillow(source, limits, name), name)
    if isinstance(source, np.ndarray):
        return _from_array(source, limits, name or "array")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read(bytes(source), limits, name or "bytes")
    if isinstance(source, str) and _URL.match(source):
        from consilience.core.fetch import fetch_image_bytes, without_secrets  # httpcore is not needed for files

        return _read(fetch_image_bytes(source, limits), limits, name or without_secrets(source))
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        if len(path) > 4096:
            raise ImageError(f"a text of {len(path):,} characters is no path; decode base64 and pass the bytes")
        return _read(_read_path(path, limits, name or path), limits, name or path)
    if hasattr(source, "read"):
        label = getattr(source, "name", None)
        name = name or (label if isinstance(label, str) else "file object")
        return _read(_read_file(source, limits, name), limits, name)
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
        check_bytes(status.st_size, limits, name)
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


def _read(data: bytes, limits: ImageLimits, name: str) -> Image:
    return _of(decoded(data, limits, name), name)


def _of(file: DecodedFile, name: str) -> Image:
    return _sealed(file.pixels, name, file.shot, file.note)


def _from_array(array: npt.NDArray[Any], limits: ImageLimits, name: str) -> Image:
    if array.ndim >= 2:
        check_size(array.shape[1], array.shape[0], limits, name)
    pixels, note = rgb_from_array(array, name, limits.grey_bits)
    return _sealed(pixels.copy(), name, note=note)


def _sealed(pixels: Pixels, source: str, shot: Shot = UNKNOWN_SHOT, note: str = "") -> Image:
    """Return an image of these very pixels, made read-only; nobody else may hold them writable."""
    pixels.setflags(write=False)
    digest = hashlib.sha256(b"%d x %d;" % pixels.shape[:2])
    digest.update(pixels.data)
    return Image(pixels, digest.hexdigest(), source, shot, note)
