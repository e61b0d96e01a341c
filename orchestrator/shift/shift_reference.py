"""What new images are compared with: two thirds of the labelled images, and how far the others lie from these.

The groups of the labelled images are split by chance: two thirds are the known ones, and of each other group one image
is held out, so that each group counts once. The score of an image is its cosine distance to the nearest known one,
plainly that of Sun et al. 2022 with k = 1. While new images are of new groups from where the labelled ones come from,
their scores and those of the held-out images are exchangeable; nothing else is assumed.

Which label is more frequent where the panel is used is no shift: scores are compared among images whose nearest known
one has the same label, where enough were held out.

Nothing is stored: the split follows from the names of the groups, and hardly changes when some are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.retrieval.encoders.encoder import Vectors
from consilience.retrieval.memory.labelled_images import LabelledImages

HELD_SHARE = 1 / 3

MOST_KNOWN, MOST_HELD = 6000, 1500
"""Known images, and held-out ones, at most; of more, a fixed random part."""

CELL_IMAGES = 20
"""Held-out images that a label needs to be compared by itself; the others are compared together."""

REST = -1
"""The cell of all labels that have fewer."""

CLASSES = 400
"""Classes of scores, from 0 to CLASSES - 1; each is 2.5 % wider than the one before it."""

LEAST_DISTANCE, GREATEST_DISTANCE = 1e-4, 2.0

SAME_THING = 0.10
"""Cosine distance up to which images may show one thing, at most (average linkage on nine sets; `grouping`)."""

USUAL_NEAREST = 0.01
"""Share of the held-out images that lie as near to a known one as two images of one thing."""


@dataclass(frozen=True)
class Scores:
    """How strange images are, beside the known ones.

    Attributes:
        distance: to the nearest known image, float64 (n,), in [0, 2]; higher = stranger.
        cell: which held-out images it is compared with, int (n,).
    """

    distance: np.ndarray
    cell: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """Return the class of each distance, int (n,), in [0, CLASSES); higher = stranger."""
        edges = np.geomspace(LEAST_DISTANCE, GREATEST_DISTANCE, CLASSES - 1)
        return np.digitize(self.distance, edges)


@dataclass(frozen=True, eq=False)
class ShiftReference:
    """What new images are compared with.

    Attributes:
        known: vectors of the known images, float32 (k, d).
        cell_of: the cell of each, int (k,).
        held: the scores of the held-out images, one a group.
        same_thing: cosine distance up to which two new images count as one.
        images_a_group: images of a group, on average, where people said which belong together; else 1.
        ids: identities of all labelled images, which are not new.
        encoder: what made the vectors.
        key: changes with the labelled images.
    """

    known: Vectors
    cell_of: np.ndarray
    held: Scores
    same_thing: float
    images_a_group: float
    ids: frozenset[str]
    encoder: str
    key: str

    @classmethod
    def of(cls, images: LabelledImages, encoder: str, *, given: bool = False, distance: float | None = None) -> Self:
        """Return the reference of labelled images.

        Args:
            images: n, of at least two groups, else nothing is held out.
            encoder: the fingerprint of what made their vectors.
            given: whether people said which images belong together; else images alike were put together.
            distance: cosine distance up to which images alike were put together.
        """
        groups = np.unique(np.array(images.groups, dtype=object).astype(str), return_inverse=True)
        names, group_of = groups[0], groups[1]
        order = sorted(range(len(names)), key=lambda group: _hash(f"group {names[group]}"))
        held_groups = np.zeros(len(names), dtype=bool)
        held_groups[order[: int(round(len(names) * HELD_SHARE))]] = True
        is_held = held_groups[group_of]
        known = _some(np.flatnonzero(~is_held), images.ids, MOST_KNOWN)
        held = _some(_one_a_group(np.flatnonzero(is_held), group_of, images.ids), images.ids, MOST_HELD)
        labels, label_of = np.unique(np.array(images.labels, dtype=object).astype(str), return_inverse=True)
        vectors = np.ascontiguousarray(images.vectors[known])
        nearest, distances = _nearest(images.vectors[held], vectors)
        label_of_held = label_of[known][nearest] if len(held) else np.empty(0, np.intp)
        is_own_cell = np.bincount(label_of_held, minlength=len(labels)) >= CELL_IMAGES
        cell_of = np.where(is_own_cell[label_of[known]], label_of[known], REST)
        if not (cell_of[nearest] == REST).any() and len(held):  # nobody to compare with: all together
            cell_of = _merged(cell_of, nearest)
        scores = Scores(distances, cell_of[nearest] if len(held) else np.empty(0, np.intp))
        usual = float(np.quantile(distances, USUAL_NEAREST)) if len(held) else 0.0
        return cls(
            vectors,
            cell_of,
            scores,
            min(SAME_THING if distance is None else distance, usual) if distance is None else distance,
            len(images) / max(len(names), 1) if given else 1.0,
            frozenset(images.ids),
            encoder,
            _hash(*sorted(images.ids)),
        )

    def scores(self, vectors: Vectors) -> Scores:
        """Return how strange images are, of vectors float32 (n, d) of unit length by the same encoder."""
        nearest, distances = _nearest(vectors, self.known)
        return Scores(distances, self.cell_of[nearest])

    def held_classes(self) -> dict[int, np.ndarray]:
        """Return by cell how many held-out images are in each class, int (CLASSES,)."""
        classes = self.held.classes
        return {
            int(cell): np.bincount(classes[self.held.cell == cell], minlength=CLASSES)
            for cell in np.unique(self.cell_of)
        }


def _hash(*names: str) -> str:
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]
