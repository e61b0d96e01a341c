"""Perceptual hashes: 64 bits that stay nearly the same when a picture is resized or saved again.

The sign of the 64 lowest frequencies of a small grey picture against their median (Zauner 2010, "Implementation and
benchmarking of perceptual image hash functions", there DCT based).
"""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
from numpy.typing import NDArray

SIDE, FREQUENCIES = 32, 8
"""Of the grey picture, in pixels; frequencies in each direction, the constant left out."""

Hashes = NDArray[np.uint64]

COPY_BITS = 6
"""Bits in which the hashes of a picture and of its copy differ, at most."""

CELLS = 2**22
"""Pairs of hashes compared at a time: 32 MB."""


def _basis() -> NDArray[np.float64]:
    """Return the cosines 1..8 at 32 places: (8, 32)."""
    places, frequencies = np.arange(SIDE), np.arange(1, FREQUENCIES + 1)
    return np.cos(np.pi * (2 * places[None] + 1) * frequencies[:, None] / (2 * SIDE))


_COSINES = _basis()


def perceptual_hash(jpeg: bytes) -> int:
    """Return the hash of a picture, of its thumbnail for example: an integer below 2**64.

    Raises:
        OSError: it is no picture that Pillow reads.
    """
    with PIL.Image.open(io.BytesIO(jpeg)) as picture:
        grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), PIL.Image.Resampling.LANCZOS), dtype=np.float64)
    waves = _COSINES @ grey @ _COSINES.T
    bits = (waves > np.median(waves)).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def near_hashes(hashes: Hashes, bits: int, most: int) -> NDArray[np.intp]:
    """Return the pairs of rows whose hashes differ in at most so many bits: int (p, 2), the lower row first.

    Args:
        hashes: uint64 (n,).
        bits: from 0 to 64.
        most: a hash that more others are near to says nothing, as that of a blank picture; it is in no pair.
    """
    pairs = [np.empty((0, 2), np.intp)]
    step = max(1, CELLS // max(len(hashes), 1))
    usual = np.ones(len(hashes), bool)
    for start in range(0, len(hashes), step):
        chosen = hashes[start : start + step]
        near = np.bitwise_count(chosen[:, None] ^ hashes[None]) <= bits
        usual[start : start + step] = near.sum(axis=1) <= most + 1  # itself is one of them
        rows, columns = np.nonzero(near & usual[start : start + step, None])
        later = rows + start < columns
        pairs.append(np.stack([rows[later] + start, columns[later]], axis=1))
    joined = np.concatenate(pairs)
    return joined[usual[joined].all(axis=1)]
