"""Made cases: photos of the same things taken again, by another camera, or in a darker room.

Photos of separate things become photos of groups: each of them stands beside copies of itself, as photos of one part
under several exposures do. And photos of a known source become those of another one. All follows from the image and its
number, whatever its file and its place in a run; what `corruptions` has is taken from there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import PIL.Image

from consilience.core.images import Image
from consilience.core.pixels import Pixels
from consilience.evals.robustness.corruptions import CORRUPTIONS

GAMMA = 2.2
"""Of the display: light is about (level / 255) to the power of it."""


def exposed(pixels: Pixels, stops: float, cast: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Pixels:
    """Return the picture with the light of each channel multiplied.

    Args:
        stops: factor of all channels, as a power of two: -1 is half the light.
        cast: and of red, green and blue each.
    """
    light = (pixels / np.float32(255.0)) ** np.float32(GAMMA) * np.float32(2.0**stops) * np.asarray(cast, np.float32)
    return np.asarray(np.rint(255.0 * np.minimum(light, 1.0) ** np.float32(1.0 / GAMMA)), dtype=np.uint8)


def cropped(pixels: Pixels, share: float, place: tuple[float, float]) -> Pixels:
    """Return a part of the picture, in the size of the whole.

    Args:
        share: of each side that is kept, in (0, 1].
        place: of what is cut off, the share that is cut off above and at the left, each in [0, 1].
    """
    height, width = pixels.shape[:2]
    kept_height, kept_width = max(1, round(share * height)), max(1, round(share * width))
    top, left = round(place[0] * (height - kept_height)), round(place[1] * (width - kept_width))
    part = PIL.Image.fromarray(pixels[top : top + kept_height, left : left + kept_width])
    return np.asarray(part.resize((width, height), PIL.Image.Resampling.BICUBIC))


def resized(pixels: Pixels, share: float) -> Pixels:
    """Return the picture with its sides shrunk to this share, as a copy for the web or a thumbnail is."""
    height, width = pixels.shape[:2]
    size = max(1, round(share * width)), max(1, round(share * height))
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS))


def _apply(corruption: str, pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    return CORRUPTIONS[corruption].apply(pixels, level, rng)


def _exposures(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return exposed(pixels, rng.uniform(-1.5, 1.5))


def _crops(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return cropped(pixels, rng.uniform(0.8, 0.95), (rng.random(), rng.random()))


def _encodings(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _apply("jpeg", resized(pixels, rng.uniform(0.5, 1.0)), rng.uniform(40, 90), rng)


def _turns(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    mirrored = np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels
    return _apply("rotation", mirrored, rng.uniform(2, 12), rng)


def _visits(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    turned = _apply("rotation", pixels, rng.uniform(0, 6), rng)
    part = cropped(turned, rng.uniform(0.8, 1.0), (rng.random(), rng.random()))
    return _apply("jpeg", exposed(part, rng.uniform(-0.7, 0.7)), rng.uniform(50, 90), rng)


def _other_camera(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _apply("jpeg", _apply("blur", exposed(pixels, 0.2, (1.3, 1.0, 0.65)), 1.5, rng), 35, rng)


def _darker_room(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _apply("noise", exposed(pixels, -2.0, (1.15, 1.0, 0.75)), 0.03, rng)


@dataclass(frozen=True)
class Retake:
    """One way to take a photo again.

    Attributes:
        what: in words, for people.
    """

    what: str
    apply: Callable[[Pixels, np.random.Generator], Pixels]


COPIES: Mapping[str, Retake] = {
    "exposures": Retake("other exposures, up to 1.5 stops", _exposures),
    "crops": Retake("parts of 80 to 95 % of the sides", _crops),
    "encodings": Retake("half to whole size, JPEG of quality 40 to 90", _encodings),
    "turns": Retake("turned by 2 to 12 degrees, half of them mirrored", _turns),
    "visits": Retake("a little turned, cropped, lit and encoded otherwise, all at once", _visits),
}
"""Ways in which the photos of one thing differ: each number draws anew."""

SOURCES: Mapping[str, Retake] = {
    "other-camera": Retake("a warm cast, soft, JPEG of quality 35", _other_camera),
    "darker-room": Retake("a quarter of the light, warm, noisy", _darker_room),
}
"""Other sources: the same change for every photo, but for the noise."""


def retaken(image: Image, how: str, number: int = 1) -> Image:
    """Return the photo taken again.

    Args:
        how: a key of `COPIES` or `SOURCES`.
        number: which of its copies; 0: the photo itself.
    """
    if number == 0:
        return image
    rng = np.random.default_rng([int(image.identity, 16), zlib.crc32(how.encode()), number])
    return Image.from_pixels({**COPIES, **SOURCES}[how].apply(image.pixels, rng), image.source)
