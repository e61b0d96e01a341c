"""Clusters of nearly equal vectors: average linkage (UPGMA) on cosine distance, exact, without a matrix of distances.

The mean cosine distance between two clusters of unit vectors is 1 minus the dot product of their mean vectors, so a
cluster is its mean and its size. Average linkage is reducible: a pair of clusters that are each other's nearest stays
so whatever else is merged (Murtagh 1983, "A survey of recent advances in hierarchical clustering algorithms"), so all
such pairs are merged at once, round after round. A cluster whose nearest is too far never comes nearer to any, and is
done. The clusters are those of `scipy.cluster.hierarchy` (`linkage(method="average", metric="cosine")`, cut at the
distance), but for vectors whose distances are equal within the rounding of float32.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.retrieval.encoders.encoder import Vectors

CELLS = 2**23
"""Similarities held at a time: 32 MB of float32."""

ROUNDING = 1e-6
"""Distances closer than this are equal: a dot product of unit vectors in float32 is no finer."""


@dataclass(frozen=True)
class Merges:
    """The merges of average linkage among n vectors, in no order; all heights are at most the distance asked for.

    Attributes:
        count: n.
        rows, others: the first members of the two clusters of each merge, int (m,).
        heights: mean cosine distance between the two clusters, float (m,).
    """

    count: int
    rows: NDArray[np.intp]
    others: NDArray[np.intp]
    heights: NDArray[np.float64]

    def clusters(self, distance: float) -> NDArray[np.intp]:
        """Return the cluster of each vector, as the row of its first member, int (n,), if none is merged above it."""
        parent = np.arange(self.count)
        low = self.heights <= distance + ROUNDING
        parent[np.maximum(self.rows, self.others)[low]] = np.minimum(self.rows, self.others)[low]
        while not np.array_equal(parent, above := parent[parent]):
            parent = above
        return parent


def average_linkage(vectors: Vectors, distance: float) -> Merges:
    """Return the merges of clusters whose mean cosine distance is at most `distance`.

    Args:
        vectors: float32 (n, d) of unit length.
        distance: in [0, 2].

    >>> merges = average_linkage(np.float32([[1, 0], [0, 1], [0.8, 0.6], [0, 1]]), 0.25)
    >>> merges.clusters(0.25).tolist(), merges.clusters(0.1).tolist()
    ([0, 1, 0, 1], [0, 1, 2, 1])
    """
    first_of_equals = _first_of_equals(vectors)
    clusters, sizes = np.unique(first_of_equals, return_counts=True)
    doubles = np.flatnonzero(first_of_equals != np.arange(len(vectors)))
    merged = [(first_of_equals[doubles], doubles, np.zeros(len(doubles)))]
    means = np.ascontiguousarray(vectors[clusters], dtype=np.float32)
    nearest, similarity = np.zeros(len(means), np.intp), np.full(len(means), -np.inf, np.float32)
    renewed = np.arange(len(means))
    while True:
        _renew(means, renewed, nearest, similarity)
        close = similarity >= 1 - distance - ROUNDING
        if not close.any():
            rows, others, heights = (np.concatenate(part) for part in zip(*merged, strict=True))
            return Merges(len(vectors), rows, others, heights)
        close[nearest[close]] = True  # the two may differ by rounding
        first, second = _reciprocal(nearest, similarity, close)
        merged.append((clusters[first], clusters[second], 1.0 - similarity[first].astype(np.float64)))
        total = sizes[first] + sizes[second]
        means[first] *= (sizes[first] / total).astype(np.float32)[:, None]
        means[first] += means[second] * (sizes[second] / total).astype(np.float32)[:, None]
        sizes[first] = total
        changed = np.zeros(len(means), bool)
        changed[first] = changed[second] = True
        stale = changed | changed[nearest]
        close[second] = False
        place = np.cumsum(close) - 1
        renewed = place[stale & close]
        clusters, sizes, means = clusters[close], sizes[close], means[close]
        nearest, similarity = place[nearest[close]], similarity[close]


def sums_of(vectors: Vectors, clusters: NDArray[np.intp]) -> tuple[Vectors, NDArray[np.intp]]:
    """Return the sum of each cluster's vectors, float32 (k, d), and its size, int (k,), in the order of their numbers.

    Args:
        vectors: float32 (n, d), n > 0.
        clusters: the number of each vector's cluster, int (n,).

    >>> sums_of(np.float32([[1, 0], [0, 1], [2, 0]]), np.array([7, 3, 7]))[0].tolist()
    [[0.0, 1.0], [3.0, 0.0]]
    """
    in_order = np.argsort(clusters, kind="stable")
    _, starts, sizes = np.unique(clusters[in_order], return_index=True, return_counts=True)
    return np.add.reduceat(vectors[in_order], starts, axis=0), sizes


def _first_of_equals(vectors: Vectors) -> NDArray[np.intp]:
    """Return for each row the first row that is equal: of many equal ones, none is another's only nearest."""
    first: dict[bytes, int] = {}
    rows = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in vectors)
    return np.array([first.setdefault(digest, number) for number, digest in enumerate(rows)], dtype=np.intp)


def _renew(means: Vectors, rows: NDArray[np.intp], nearest: NDArray[np.intp], similarity: NDArray[np.float32]) -> None:
    """Write the nearest cluster of some rows, and of every row to which one of these is nearest now.

    Args:
        means: float32 (m, d).
        rows: ascending; what is known of their nearest is forgotten.
        nearest, similarity: of the m clusters, as known so far.
    """
    similarity[rows] = -np.inf
    is_all = len(rows) == len(means)
    step = max(1, CELLS // max(len(means), 1))
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        left_out = start if is_all else 0  # these columns were rows before
        products = means[chosen] @ means[left_out:].T
        products[np.arange(len(chosen)), chosen - left_out] = -np.inf
        columns, rows_here = products.argmax(axis=1), np.arange(len(chosen))
        _improve(nearest, similarity, chosen, columns + left_out, products[rows_here, columns])
        others, places = np.arange(left_out, len(means)), products.argmax(axis=0)
        _improve(nearest, similarity, others, chosen[places], products[places, others - left_out])


def _improve(
    nearest: NDArray[np.intp],
    similarity: NDArray[np.float32],
    rows: NDArray[np.intp],
    candidates: NDArray[np.intp],
    similarities: NDArray[np.float32],
) -> None:
    better = similarities > similarity[rows]
    nearest[rows[better]], similarity[rows[better]] = candidates[better], similarities[better]


def _reciprocal(
    nearest: NDArray[np.intp], similarity: NDArray[np.float32], close: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs of close clusters that are each other's nearest; the closest pair where rounding hides them."""
    rows = np.arange(len(nearest))
    first = np.flatnonzero(close & (nearest[nearest] == rows) & (rows < nearest))
    if not len(first):
        closest = int(similarity.argmax())
        first = np.array([min(closest, nearest[closest])])
        return first, np.array([max(closest, nearest[closest])])
    return first, nearest[first]
