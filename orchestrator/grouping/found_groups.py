"""Groups that are found in the images: copies, names that differ by a mark, bursts, and what looks nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consilience.orchestrator.grouping.average_linkage import ROUNDING, Merges, average_linkage, sums_of
from consilience.orchestrator.grouping.bursts import bursts
from consilience.orchestrator.grouping.copy_marks import of_one_name
from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.grouping.links import ConnectedImages, Link
from consilience.orchestrator.grouping.perceptual_hash import COPY_BITS, near_hashes
from consilience.retrieval.encoders.encoder import Vectors

RULE = "copies, names that differ by a mark, bursts, and images that look nearly the same"

LITE0, LITE0_LIMIT = "efficientnet-lite0", 0.10
"""EfficientNet-Lite0; the cosine distance of its vectors up to which images may show one thing."""

SHARE_OF_USUAL = 0.25
"""The same for other encoders, as a share of the median distance between two of the images."""

DRAWN = 2000
"""Images that the median is of, at most."""

LEAST_OF_ONE_THING = 0.5
"""Share of the pairs that are nearly equal which must show one thing."""

LEAST_GROUPS = 4.0
"""Groups of about equal size that each label must have; half as many as it has images, where that is less."""

APART = 1.75
"""How many times farther the nearest other cluster must be than a cluster's own images are from each other, in the
median. Seen with EfficientNet-Lite0 at a distance of 0.1: views, crops and copies of one photo 2.3 to 3.5; leaves,
solar cells, blood cells, all of different things, 1.3 to 1.4."""

CLUSTERS_MEASURED = 500
"""Clusters that the median is of, at most."""

STEPS = 20
"""Distances that are tried."""

COPY_DISTANCE = 2.0
"""How far apart the vectors of copies may be, as a multiple of `alike_limit`."""

MOST_COPIES = 32
"""Copies of a picture, at most: a hash that more pictures have says nothing."""

PAIRS = 4096
"""Pairs of vectors that are compared at a time."""


@dataclass(frozen=True)
class FoundGroups:
    """Groups found among n images.

    Attributes:
        grouping: how.
        groups: name of each image's group, the identity of its first image.
        links: what connects the images, with reasons; one fewer in each group than it has images.
    """

    grouping: Grouping
    groups: tuple[str, ...]
    links: tuple[Link, ...]


def find_groups(images: ImagesToGroup, limit: float, labels: Sequence[str]) -> FoundGroups:
    """Return which of n images show one thing.

    Args:
        images: what is known of them.
        limit: see `alike_limit`.
        labels: of the images: they tell how much nearness says, see `alike_distance`.
    """
    merges = average_linkage(images.vectors, limit)
    return _connected(images, limit, merges, alike_distance(images.vectors, merges, labels, limit))


def find_new_groups(images: ImagesToGroup, limit: float, distance: float) -> FoundGroups:
    """Return which of n images show one thing, as `find_groups` does, where the distance is known already."""
    return _connected(images, limit, average_linkage(images.vectors, distance), distance)


def _connected(images: ImagesToGroup, limit: float, merges: Merges, distance: float) -> FoundGroups:
    connected = ConnectedImages(images.ids)
    for row, other in copies(images, limit).tolist():
        connected.join(row, other, "copy")
    for rows in of_one_name(images.names):
        for row, other in pairwise(rows):
            connected.join(row, other, "name")
    for rows in bursts(images.shots):
        for row, other in pairwise(rows):
            connected.join(row, other, "burst")
    for row, first in enumerate(merges.clusters(distance).tolist()):
        connected.join(first, row, "alike")
    return FoundGroups(Grouping("found", RULE, distance), connected.groups(), connected.links)


def copies(images: ImagesToGroup, limit: float) -> NDArray[np.intp]:
    """Return the pairs of rows that are copies of each other, resized or saved again: int (p, 2).

    Args:
        images: what is known of them; only those with a thumbnail are compared.
        limit: see `alike_limit`.
    """
    pictured, hashes = images.pictured
    pairs = pictured[near_hashes(hashes, COPY_BITS, MOST_COPIES)]
    near = [np.zeros(0, bool)]
    for start in range(0, len(pairs), PAIRS):
        rows, others = pairs[start : start + PAIRS].T
        similarities = np.einsum("nd,nd->n", images.vectors[rows], images.vectors[others])
        near.append(1 - similarities <= COPY_DISTANCE * limit)
    return np.asarray(pairs[np.concatenate(near)])


def alike_limit(vectors: Vectors, encoder: str) -> float:
    """Return the cosine distance up to which vectors of an encoder may be taken for one thing, in [0, 2].

    Seen for EfficientNet-Lite0. Of another encoder nobody knows what is near, only how far images usually are apart.

    Args:
        vectors: float32 (n, d) of unit length.
        encoder: its name.
    """
    if encoder == LITE0 or len(vectors) < 2:
        return LITE0_LIMIT
    drawn = np.random.default_rng(0).permutation(len(vectors))[:DRAWN]
    distances = 1 - vectors[drawn] @ vectors[drawn].T
    usual = float(np.median(distances[np.triu_indices(len(drawn), 1)]))
    return min(LITE0_LIMIT, max(SHARE_OF_USUAL * usual, 0.0))


def alike_distance(vectors: Vectors, merges: Merges, labels: Sequence[str], limit: float) -> float:
    """Return the cosine distance up to which vectors are taken for one thing: the greatest at which that is plausible.

    - Things stand apart. Images of one thing are nearer to each other than to the next thing; where all images are
      alike, clusters are cut out of one cloud, and lie as near to each other as their images do.
    - Most pairs in a cluster show one thing. Images of one thing have one label. If those of two things have the same
      label by chance, the share of pairs that show one thing is (a - c) / (1 - c): a, the share of pairs in a cluster
      with one label; c, that of all pairs. It is small where images look nearly the same whatever they show.
    - No label has few things. Where its images are all nearly equal, as those of flawless parts are, nearness tells no
      things apart. The number of groups is counted by their sizes (inverse Simpson index).

    Args:
        vectors: float32 (n, d) of unit length.
        merges: of the vectors, up to `limit`.
        labels: of the vectors.
        limit: see `alike_limit`.
    """
    _, numbers, counts = np.unique(np.array(labels), return_inverse=True, return_counts=True)
    by_chance = float(np.sum((counts / max(len(numbers), 1)) ** 2))
    for distance in np.linspace(limit, 0.0, STEPS, endpoint=False).tolist():
        clusters = merges.clusters(distance)
        agreement = _agreement(clusters, numbers)
        if agreement is None:
            return float(distance)
        is_one_thing = agreement - by_chance >= LEAST_OF_ONE_THING * (1 - by_chance)
        are_many = (_effective_groups(clusters, numbers) >= np.minimum(LEAST_GROUPS, counts / 2)).all()
        if is_one_thing and are_many and _apart(vectors, clusters) >= APART:
            return float(distance)
    return 0.0


def _apart(vectors: Vectors, clusters: NDArray[np.intp]) -> float:
    """Return how many times farther the nearest other cluster is than a cluster's own images, median over clusters.

    Distances are mean cosine distances between images; clusters of one image are no more than another one's nearest.

    >>> round(_apart(np.float32([[1, 0], [0.8, 0.6], [0, 1]]), np.array([0, 0, 2])), 2)
    3.5
    """
    sums, sizes = sums_of(vectors, clusters)
    means = sums / sizes[:, None].astype(vectors.dtype)
    several = np.flatnonzero(sizes > 1)
    some = np.random.default_rng(0).permutation(several)[:CLUSTERS_MEASURED]
    similarities = means[some] @ means.T
    similarities[np.arange(len(some)), some] = -np.inf
    n, squares = sizes[some], np.einsum("kd,kd->k", sums[some], sums[some], dtype=np.float64)
    within = 1.0 - (squares - n) / (n * (n - 1.0))  # the mean over pairs of two different images
    return float(np.median((1.0 - similarities.max(axis=1)) / np.maximum(within, ROUNDING)))


def _agreement(clusters: NDArray[np.intp], labels: NDArray[np.intp]) -> float | None:
    """Return the share of pairs in a cluster with one label; a cluster weighs its images but one; None: no pairs."""
    cells, images = np.unique(np.c_[clusters, labels], axis=0, return_counts=True)
    firsts, sizes = np.unique(clusters, return_counts=True)
    of_one_label = np.zeros(len(firsts))
    np.add.at(of_one_label, np.searchsorted(firsts, cells[:, 0]), images * (images - 1.0))
    several = sizes > 1
    if not several.any():
        return None
    shares = of_one_label[several] / (sizes[several] * (sizes[several] - 1.0))
    return float(np.average(shares, weights=sizes[several] - 1))


def _effective_groups(clusters: NDArray[np.intp], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how many clusters of equal size each label's images would be as evenly spread over: (c,).

    >>> _effective_groups(np.array([0, 0, 2, 2, 4]), np.array([0, 0, 0, 0, 1])).tolist()
    [2.0, 1.0]
    """
    cells, images = np.unique(np.c_[clusters, labels], axis=0, return_counts=True)
    shares = images / np.bincount(labels)[cells[:, 1]]
    return np.asarray(1.0 / np.bincount(cells[:, 1], weights=shares**2))
