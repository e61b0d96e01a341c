"""How far an image lies from those in the memory: its distance, ranked among their distances to each other.

It stands in for novelty where a panel could judge too few of its own images to know more signs. The score is the
distance to the k-th nearest neighbour (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors"),
here the cosine distance 1 - similarity, made a share by its rank among the memory's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

CELLS = 2**24
"""Similarities held at a time: 64 MB of float32."""

ROUNDING = 1e-6
"""Distances closer than this are equal: a dot product of unit vectors in float32 is no finer."""


def kth_distances(vectors: Vectors, k: int) -> Vectors:
    """Return the distance of each vector to its k-th neighbour, itself left out: float32 (n,), ascending, in [0, 2].

    With fewer than k others the farthest one counts; with fewer than two vectors the result is empty.

    Args:
        vectors: float32 (n, d) of unit length.
        k: which neighbour, from 1.
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.empty(0, np.float32)
    distances = np.empty(n, np.float32)
    step = max(1, CELLS // n)
    for start in range(0, n, step):
        similarities = vectors[start : start + step] @ vectors.T
        own = np.arange(len(similarities))
        similarities[own, start + own] = -np.inf
        distances[start : start + step] = 1.0 - np.partition(similarities, n - k, axis=1)[:, n - k]
    return np.sort(np.clip(distances, 0.0, 2.0))


def rank_of_distance(distances: Vectors, reference: Vectors) -> NDArray[np.float64]:
    """Return the share of `reference` that is smaller than each distance: (m,), in [0, 1]; higher = farther.

    1 where there is no reference: nothing is known of what is usual.

    Args:
        distances: of the m images to their k-th neighbour in the memory.
        reference: the same of the memory's own images, ascending, as `kth_distances` returns it.

    >>> rank_of_distance(np.float32([0.05, 0.3, 0.9]), np.float32([0.1, 0.2, 0.3, 0.4])).tolist()
    [0.0, 0.5, 1.0]
    """
    if not len(reference):
        return np.ones(len(distances))
    return np.searchsorted(reference, distances - ROUNDING) / len(reference)
