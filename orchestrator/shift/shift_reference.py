"""What new images are compared with: two thirds of the labelled images, and how strange the others are beside these.

The groups of the labelled images are split by chance: two thirds are known, and of each other group one image is held
out, so that a group counts once. While new images are of new groups from where the labelled ones come from, their
scores and the held-out ones are exchangeable; nothing else is assumed.

The score is a local outlier factor (Breunig et al. 2000, "LOF: identifying density-based local outliers", simplified):
the mean cosine distance to the K nearest known images, divided by the same of these images themselves, among known
images of other groups. So a label whose images differ much from each other is no stranger than one whose images are all
alike, and another mix of labels is no shift; and where about 20 images of a new source are known, the others of that
source are no longer strange.

On four sets (blood cells, solar cells, apple leaves, objects), beside the plain distance to the nearest known image
(Sun et al. 2022): other laboratories and other sets have a mean rank of 0.99 and more by both, darker or recompressed
photographs 0.68 to 0.95 (plainly 0.65 to 0.86), a batch of the most varied label alone 0.61 (plainly 0.77, an alarm);
after 20 labelled images of another laboratory its others have 0.32 (plainly 0.96).

Nothing is stored: the split follows from the names of the groups, and hardly changes when some are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.retrieval.encoders.encoder import Vectors
from consilience.retrieval.memory.labelled_images import LabelledImages

HELD_SHARE = 1 / 3

K = 5
"""Nearest known images; 3, 10 and 20 did no better on the four sets, and 1 worse."""

MOST_KNOWN, MOST_HELD = 3000, 1000
"""Known images, and held-out ones, at most; of more, a fixed random part."""

CLASSES = 400
"""Classes of scores, from 0 to CLASSES - 1; each is 1.5 % wider than the one before."""

LEAST_SCORE, GREATEST_SCORE = 0.05, 20.0
"""What lies beyond is in the first class or the last."""

SAME_THING = 0.10
"""Cosine distance up to which two new images may count as one thing, at most, as in `grouping`."""

AS_NEAR = 0.01
"""Share of held-out images that lie as near to a known one, of another thing, as two images of one thing."""

ROWS = 512
"""Images whose similarities to all known ones are held at a time."""


@dataclass(frozen=True, eq=False)
class ShiftReference:
    """What new images are compared with.

    Attributes:
        known: vectors of the known images, float32 (k, d).
        spread: mean distance of each to its K nearest of other groups, float64 (k,), > 0.
        held: the scores of the held-out images, one a group, float64 (m,).
        same_thing: cosine distance up to which two new images count as one.
        images_a_thing: labelled images that show one thing, on average, where people said which do; else 1. Such images
            need not look alike, so of a new source every such one is compared.
        ids: identities of all labelled images: these are not new.
        encoder: fingerprint of what made the vectors.
        key: changes with the labelled images.
    """

    known: Vectors
    spread: np.ndarray
    held: np.ndarray
    same_thing: float
    images_a_thing: int
    ids: frozenset[str]
    encoder: str
    key: str

    @classmethod
    def of(cls, images: LabelledImages, encoder: str, grouping: Grouping = NO_GROUPING) -> Self:
        """Return the reference of labelled images.

        Args:
            images: of fewer than two groups, none is held out, and nothing can be told.
            encoder: the fingerprint of what made their vectors.
            grouping: where their groups come from.
        """
        names, group_of = np.unique(np.array([_hash(f"group {name}") for name in images.groups]), return_inverse=True)
        is_held = group_of < int(len(names) * HELD_SHARE)  # hashes in order: their names are drawn by chance
        chance = np.array([_hash(f"image {identity}") for identity in images.ids])
        order = np.argsort(chance, kind="stable")
        known = order[~is_held[order]][:MOST_KNOWN]
        held = order[is_held[order]]
        held = held[np.sort(np.unique(group_of[held], return_index=True)[1])][:MOST_HELD]
        vectors = np.ascontiguousarray(images.vectors[known])
        to_others = _nearest(vectors, vectors, group_of[known], group_of[known])[0]
        distances = to_others.sum(axis=1) / max(to_others.shape[1], 1)
        is_finite = np.isfinite(distances)  # else there are fewer than K images of other groups
        usual = float(np.median(distances[is_finite])) if is_finite.any() else 1.0
        spread = np.maximum(np.where(is_finite, distances, usual), 1e-6)
        near, places = _nearest(images.vectors[held], vectors)
        alike = min(SAME_THING, float(np.quantile(near[:, 0], AS_NEAR))) if len(held) and len(known) else 0.0
        return cls(
            known=vectors,
            spread=spread,
            held=_scores(near, places, spread),
            same_thing=alike if grouping.distance is None else grouping.distance,
            images_a_thing=max(round(len(images) / max(len(names), 1)), 1) if grouping.how == "given" else 1,
            ids=frozenset(images.ids),
            encoder=encoder,
            key=_hash(
                *sorted(f"{identity} {group}" for identity, group in zip(images.ids, images.groups, strict=True))
            ),
        )

    def scores(self, vectors: Vectors) -> np.ndarray:
        """Return how strange images are, float64 (n,), >= 0; higher = stranger, about 1 for usual ones.

        Args:
            vectors: float32 (n, d) of unit length, by the reference's encoder.
        """
        return _scores(*_nearest(vectors, self.known), self.spread)

    def held_classes(self) -> np.ndarray:
        """Return how many held-out images are in each class of scores, int (CLASSES,)."""
        return np.bincount(classes_of(self.held), minlength=CLASSES)


def classes_of(scores: np.ndarray) -> np.ndarray:
    """Return the class of each score, int (n,), in [0, CLASSES); higher = stranger."""
    return np.asarray(np.digitize(scores, np.geomspace(LEAST_SCORE, GREATEST_SCORE, CLASSES - 1)))


def _scores(distances: np.ndarray, places: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the scores of images from the distances to the nearest known ones and their places, (n, k) each."""
    if not places.shape[1]:
        return np.zeros(len(places))
    return np.asarray(distances.mean(axis=1) / spread[places].mean(axis=1))


def _nearest(
    vectors: Vectors, known: Vectors, groups: np.ndarray | None = None, known_groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to the K nearest known images, nearest first, and their places, (n, k) each.

    Args:
        groups, known_groups: of both; images of the same group are no neighbours, at infinite distance.
    """
    k = min(K, len(known))
    distances, places = np.empty((len(vectors), k)), np.empty((len(vectors), k), np.intp)
    for start in range(0, len(vectors), ROWS):
        part = slice(start, start + ROWS)
        apart = 1.0 - vectors[part] @ known.T
        if groups is not None and known_groups is not None:
            apart[groups[part, None] == known_groups[None]] = np.inf
        order = np.argpartition(apart, k - 1, axis=1)[:, :k] if k else np.empty((len(apart), 0), np.intp)
        order = np.take_along_axis(order, np.argsort(np.take_along_axis(apart, order, axis=1), axis=1), axis=1)
        distances[part], places[part] = np.take_along_axis(apart, order, axis=1), order
    return np.maximum(distances, 0.0), places


def _hash(*names: str) -> str:
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def chances(names: Iterable[str]) -> np.ndarray:
    """Return a number in [0, 1) for each name, float64 (n,): drawn by chance, and the same for the same name."""
    return np.array([int(_hash(name)[:13], 16) / 16**13 for name in names])
