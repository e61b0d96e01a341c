"""Texture and colour as an encoder: histograms that were learned from nothing, and so do not know ImageNet.

Four kinds of histograms of the image in CIELAB at 224 x 224 pixels, each with the same share:

- colour: lightness and the two colour axes, 15 bins each;
- colour pairs: both colour axes together, 11 x 11 bins (Swain and Ballard 1991);
- texture: uniform local binary patterns of 8 neighbours, of the image and at three scales (Ojala, Pietikainen and
  Maenpaa 2002);
- contrast: differences of Gaussians at four scales, 15 bins of their signed roots.

A vector is the root of all shares, of unit length: a dot product of two is their Hellinger affinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from consilience.core.errors import import_extra
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Vectors, hash_of

NAME = "texture"

SIZE = 224

COLOUR_RANGE = 60.0
"""Of both colour axes; what lies beyond counts as this."""

BINS, PAIR_BINS = 15, 11
"""Of one axis, and of each of two; odd, so that grey lies within a bin and not between two."""

CONTRAST_RANGE = 4.0
"""Of the signed root of a difference in lightness (0 to 100)."""

SCALES = (1, 2, 4, 8)
"""Standard deviations of the Gaussians, in pixels."""

PATTERNS = 10
"""Uniform patterns of 8 neighbours: by how many are lighter, and one for all that are not uniform."""

DIMENSION = 3 * BINS + PAIR_BINS**2 + 4 * PATTERNS + len(SCALES) * BINS


class Texture(Encoder):
    """Texture and colour of the whole image, 266 dimensions, on the CPU; it has no weights."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            MissingExtraError: the extra 'texture' is not installed.
        """
        self._patterns_of = import_extra("skimage.feature", "texture").local_binary_pattern
        self._lab_of = import_extra("skimage.color", "texture").rgb2lab
        self.name = NAME
        self.dimension = DIMENSION
        self.fingerprint = hash_of(NAME, "lab-224-colour-pairs-patterns-contrast-root")
        self.has_text = False
        self.chunk = 4

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Return the image's vector, float32 (266,) of unit length."""
        picture = Pillow.fromarray(image.pixels).resize((SIZE, SIZE), Pillow.Resampling.BILINEAR, reducing_gap=3.0)
        lab = np.asarray(self._lab_of(np.asarray(picture)), np.float32)
        light = lab[..., 0]
        axes, both = lab[..., 1:].reshape(-1, 2).clip(-COLOUR_RANGE, COLOUR_RANGE), (-COLOUR_RANGE, COLOUR_RANGE)
        colour = [
            np.histogram(light, BINS, (0.0, 100.0))[0],
            *(np.histogram(axis, BINS, both)[0] for axis in axes.T),
        ]
        pairs = [np.histogramdd(axes, PAIR_BINS, (both, both))[0].ravel()]
        patterns, contrasts = self._by_scale(light)
        kinds = [np.concatenate(kind) for kind in (colour, pairs, patterns, contrasts)]
        shares = np.concatenate([kind / kind.sum() for kind in kinds]) / len(kinds)
        return np.sqrt(shares, dtype=np.float32)

    def _by_scale(self, light: NDArray[np.float32]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Return shares of patterns and of contrasts, one array a scale."""
        from scipy.ndimage import gaussian_filter

        patterns, contrasts, before = [self._patterns(light)], [], light
        for scale in SCALES:
            smooth = gaussian_filter(light, scale)
            if len(patterns) < 4:
                patterns.append(self._patterns(smooth[::scale, ::scale]))
            difference = before - smooth
            root = np.sign(difference) * np.sqrt(np.abs(difference))
            clipped = root.clip(-CONTRAST_RANGE, CONTRAST_RANGE)
            contrasts.append(np.histogram(clipped, BINS, (-CONTRAST_RANGE, CONTRAST_RANGE))[0] / root.size)
            before = smooth
        return patterns, contrasts

    def _patterns(self, light: NDArray[np.float32]) -> NDArray[np.float64]:
        grey = np.round(light * 2.55).astype(np.uint8)
        codes = self._patterns_of(grey, 8, 1, "uniform").astype(np.intp)
        return np.asarray(np.bincount(codes.ravel(), minlength=PATTERNS) / codes.size)

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return the vectors, float32 (n, 266) of unit length, that `prepare` made."""
        return np.asarray(batch, np.float32)
