"""What differs between two sets of pictures, for people: brightness, contrast, sharpness, colours, size, camera.

It explains an alarm and raises none. Pictures are compared as the same small thumbnails, so that their sizes do not
make them look sharper or smoother; sizes and cameras come from the files, where these are still there.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import PIL.Image

from consilience.core.exif import shot_of

SIDE = 96
"""Pixels of the longer side, at which pictures are compared: that of the thumbnails in a panel."""

FEWEST = 8
"""Pictures that each set needs."""

DISTINCT = 0.25
"""How far from 1/2 the chance must be that a picture of one set has more than one of the other, to be told."""

MORE_AND_LESS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "brightness": ("brighter", "darker"),
        "contrast": ("more contrast", "less contrast"),
        "sharpness": ("sharper", "more blurred"),
        "saturation": ("stronger colours", "paler colours"),
        "warmth": ("warmer colours", "colder colours"),
        "size": ("larger", "smaller"),
    }
)
"""What is compared, and what new pictures are called that have more or less of it. Brightness, contrast, saturation and
warmth (red minus blue) are of values in [0, 1]; sharpness is that of edges, beside the contrast."""


@dataclass(frozen=True)
class Appearance:
    """How a picture looks.

    Attributes:
        figures: by the names of MORE_AND_LESS; size, the longer side in pixels, only where it is known.
        camera: what took it; empty: not known.
    """

    figures: Mapping[str, float]
    camera: str = ""


@dataclass(frozen=True)
class Difference:
    """What differs between new pictures and labelled ones.

    Attributes:
        what: brightness, contrast, sharpness, saturation, warmth, size or camera.
        words: what the new ones are, 'darker'.
        new, labelled: the median of each set; of cameras, the most frequent one.
        chance: that a new picture has more of it than a labelled one, [0, 1]; None for cameras.
    """

    what: str
    words: str
    new: float | str
    labelled: float | str
    chance: float | None = None


def appearance(thumbnail: bytes, size: int | None = None, camera: str = "") -> Appearance:
    """Return how an image looks.

    Args:
        thumbnail: a JPEG whose longer side has SIDE pixels, or as many as the image.
        size: of the longer side of the image itself; None: not known.
        camera: what took it; empty: not known.
    """
    with PIL.Image.open(io.BytesIO(thumbnail), formats=("JPEG",)) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float64) / 255
    luminance = pixels @ [0.299, 0.587, 0.114]
    inner, beside = luminance[1:-1, 1:-1], luminance[:-2, 1:-1] + luminance[2:, 1:-1]
    laplacian = 4 * inner - beside - luminance[1:-1, :-2] - luminance[1:-1, 2:]
    contrast = float(luminance.std())
    figures = {
        "brightness": float(luminance.mean()),
        "contrast": contrast,
        "sharpness": float(laplacian.std() / max(contrast, 1e-3)) if laplacian.size else 0.0,
        "saturation": float((pixels.max(axis=2) - pixels.min(axis=2)).mean()),
        "warmth": float((pixels[:, :, 0] - pixels[:, :, 2]).mean()),
    }
    return Appearance(figures | ({} if size is None else {"size": float(size)}), camera)


def appearance_of_file(thumbnail: bytes | None, path: str) -> Appearance | None:
    """Return how an image looks, by its thumbnail and its file, as far as they are there; None without a thumbnail."""
    if thumbnail is None:
        return None
    try:
        with PIL.Image.open(path) as image:  # reads no further than the header
            return appearance(thumbnail, max(image.size), shot_of(image).camera)
    except Exception:  # gone, an address, or damaged: size and camera are not known
        return appearance(thumbnail)


def differences(new: Sequence[Appearance], labelled: Sequence[Appearance]) -> list[Difference]:
    """Return what differs between new pictures and labelled ones, the clearest difference first."""
    told = []
    for what, (more, less) in MORE_AND_LESS.items():
        here, there = _figures(new, what), _figures(labelled, what)
        if min(len(here), len(there)) < FEWEST:
            continue
        chance = float(((here[:, None] > there) + 0.5 * (here[:, None] == there)).mean())
        if abs(chance - 0.5) >= DISTINCT:
            words = more if chance > 0.5 else less
            told.append(Difference(what, words, float(np.median(here)), float(np.median(there)), chance))
    told.sort(key=lambda difference: -abs((difference.chance or 0.5) - 0.5))
    return [*told, *_cameras(new, labelled)]


def _figures(pictures: Iterable[Appearance], what: str) -> np.ndarray:
    return np.array([picture.figures[what] for picture in pictures if what in picture.figures])


def _cameras(new: Sequence[Appearance], labelled: Sequence[Appearance]) -> list[Difference]:
    here, there = (Counter(picture.camera for picture in pictures if picture.camera) for pictures in (new, labelled))
    strange = sum(n for camera, n in here.items() if camera not in there)
    if here.total() < FEWEST or there.total() < FEWEST or strange <= here.total() / 2:
        return []
    return [Difference("camera", "another camera", here.most_common(1)[0][0], there.most_common(1)[0][0])]
