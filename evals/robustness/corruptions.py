"""Pictures made worse, in five strengths. Pure functions on uint8 pixels (height, width, 3), RGB.

Noise, blur, exposure and JPEG are those of ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261), with its
parameters: Gaussian noise, Gaussian blur, brightness (here up or down), JPEG compression. Occlusion (DeVries and Taylor
2017, arXiv 1708.04552), rotation, scale and background are not in it; their strengths are ours.

They stand here, on Pillow and SciPy, because no library fits: imagecorruptions and albumentations are no longer
maintained, the latter's successor is under the AGPL, and all bring OpenCV with them.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageFilter

from consilience.core.images import Image
from consilience.core.pixels import Pixels

STRENGTHS = (1, 2, 3, 4, 5)

REFERENCE_SIDE = 224
"""Pixels of the shorter side to which ImageNet-C's widths of a blur refer; of other pictures they are scaled."""

BORDER_TOLERANCE = 24.0
"""How far a colour may be from the border's, in levels of a channel, to belong to the background."""


def _noise(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of this standard deviation, as a share of the full range."""
    return _clipped(pixels + 255.0 * level * rng.standard_normal(pixels.shape, dtype=np.float32))


def _blur(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian blur of this standard deviation, in pixels of a picture of 224."""
    width = sigma * min(pixels.shape[:2]) / REFERENCE_SIDE
    return np.asarray(PIL.Image.fromarray(pixels).filter(PIL.ImageFilter.GaussianBlur(width)))


def _exposure(pixels: Pixels, shift: float, rng: np.random.Generator) -> Pixels:
    """Return the value of HSV shifted by this share of its range: half the pictures too bright, half too dark."""
    hue, saturation, value = PIL.Image.fromarray(pixels).convert("HSV").split()
    shift = 255.0 * shift * rng.choice((-1.0, 1.0))
    shifted = PIL.Image.fromarray(_clipped(np.asarray(value) + shift))
    return np.asarray(PIL.Image.merge("HSV", (hue, saturation, shifted)).convert("RGB"))


def _jpeg(pixels: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """JPEG of this quality."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
    return np.asarray(PIL.Image.open(file, formats=["JPEG"]))


def _occlusion(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Return a grey box over this share of the area, of the picture's proportions, at a random place."""
    covered = pixels.copy()
    height, width = (max(1, round(side * share**0.5)) for side in pixels.shape[:2])
    y, x = (
        int(rng.random() * (side - covers + 1)) for side, covers in zip(pixels.shape, (height, width), strict=False)
    )
    covered[y : y + height, x : x + width] = 128
    return covered


def _rotation(pixels: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    """Return it turned by so many degrees, left or right; the corners take the border's colour."""
    turned = PIL.Image.fromarray(pixels).rotate(
        degrees * rng.choice((-1.0, 1.0)), PIL.Image.Resampling.BICUBIC, fillcolor=_levels(_border_colour(pixels))
    )
    return np.asarray(turned)


def _scale(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Shrunk to this share of its sides, in the middle; what surrounds it takes the border's colour."""
    picture = PIL.Image.fromarray(pixels)
    width, height = (max(1, round(side * share)) for side in picture.size)
    canvas = PIL.Image.new("RGB", picture.size, _levels(_border_colour(pixels)))
    small = picture.resize((width, height), PIL.Image.Resampling.LANCZOS)
    canvas.paste(small, ((picture.width - width) // 2, (picture.height - height) // 2))
    return np.asarray(canvas)


def _background(pixels: Pixels, opacity: float, rng: np.random.Generator) -> Pixels:
    """Return the background under a coloured cloth of this opacity."""
    height, width = pixels.shape[:2]
    knots = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    cloth = np.asarray(PIL.Image.fromarray(knots).resize((width, height), PIL.Image.Resampling.BICUBIC))
    share = opacity * background(pixels)[:, :, None]
    return _clipped(pixels * (1.0 - share) + cloth * share)


@dataclass(frozen=True)
class Corruption:
    """One way to make pictures worse.

    Attributes:
        what: in words, for people.
        levels: its parameter at each of the five strengths.
    """

    what: str
    levels: tuple[float, float, float, float, float]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption("Gaussian noise", (0.08, 0.12, 0.18, 0.26, 0.38), _noise),
    "blur": Corruption("Gaussian blur", (1, 2, 3, 4, 6), _blur),
    "exposure": Corruption("too bright or too dark", (0.1, 0.2, 0.3, 0.4, 0.5), _exposure),
    "jpeg": Corruption("JPEG compression", (25, 18, 15, 10, 7), _jpeg),
    "occlusion": Corruption("partly covered", (0.05, 0.1, 0.2, 0.3, 0.45), _occlusion),
    "rotation": Corruption("turned", (15, 30, 45, 60, 90), _rotation),
    "scale": Corruption("smaller", (0.8, 0.65, 0.5, 0.35, 0.25), _scale),
    "background": Corruption("another background", (0.2, 0.4, 0.6, 0.8, 1.0), _background),
}


def corrupted(image: Image, corruption: str, strength: int) -> Image:
    """Return the image made worse; the same for the same image, whatever its file and its place in a run.

    What is drawn at random does not depend on the strength: a stronger noise is the same pattern, only more of it.

    Args:
        corruption: a key of `CORRUPTIONS`.
        strength: 1 to 5.
    """
    kind = CORRUPTIONS[corruption]
    rng = np.random.default_rng([int(image.identity, 16), zlib.crc32(corruption.encode())])
    return Image.from_pixels(kind.apply(image.pixels, kind.levels[strength - 1], rng), image.source)


def background(pixels: Pixels) -> np.ndarray:
    """Return which pixels belong to the background, bool (height, width).

    It is what hangs together with the border and has its median colour. Where the border has no colour of its own (less
    than a twentieth of the picture is such), it is all outside the largest ellipse.
    """
    from scipy.ndimage import label

    height, width = pixels.shape[:2]
    alike = (np.abs(pixels - _border_colour(pixels)) <= BORDER_TOLERANCE).all(axis=2)
    parts, _ = label(alike)
    at_border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    inside: np.ndarray = np.isin(parts, at_border[at_border > 0])
    if inside.mean() >= 0.05:
        return inside
    y, x = np.ogrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
    outside: np.ndarray = x**2 + y**2 > 1.0
    return outside


def _border_colour(pixels: Pixels) -> np.ndarray:
    """Median colour of the outermost pixels, float (3,)."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour: np.ndarray = np.median(border, axis=0)
    return colour


def _levels(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(level) for level in colour)


def _clipped(values: np.ndarray) -> Pixels:
    clipped: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped
