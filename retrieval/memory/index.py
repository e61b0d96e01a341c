"""Search among labelled images by cosine similarity: the protocol, and the exact search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import ImageMemoryError
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import CELLS, ROUNDING, Vectors

Rows = NDArray[np.intp]


class Index(Protocol):
    """An index finds the labelled images nearest to a vector; its queries may come from many threads."""

    @property
    def name(self) -> str:
        """What answers: "exact", "chroma" (embedded) or "server"."""

    @property
    def mismatches(self) -> int:
        """How many answers did not agree with the labelled images and were worked out exactly instead."""

    def query(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return the nearest labelled images to each of m vectors, float32 (m, d) of unit length.

        Returns:
            Cosine similarities, float32 (m, min(k, n)), in [-1, 1], descending, and the rows of the labelled images
            that they belong to; equal similarities stand in the order of their rows.
        """

    def prepare(self) -> None:
        """Bring the index up to date, if queries need it."""

    def check(self) -> CheckReport:
        """Return how the whole index compares with the labelled images. Not while other threads query."""

    def repair(self) -> None:
        """Build the index anew from the labelled images. Not while other threads query."""

    def close(self) -> None:
        """Close what the index holds open."""


class ExactIndex:
    """The `Index` that compares with every labelled image; memory stays bounded whatever the number of queries.

    Args:
        labelled_images: the images to search.
        instead: why it stands in for an index that cannot be used; `check` and `repair` raise it. None: it does not.
    """

    name = "exact"
    mismatches = 0

    def __init__(self, labelled_images: LabelledImages, instead: ImageMemoryError | None = None) -> None:
        self._vectors = labelled_images.vectors
        self._instead = instead

    def query(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return the nearest labelled images; see `Index.query`."""
        n = len(self._vectors)
        k = min(k, n)
        similarities, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.intp)
        step = max(1, CELLS // max(n, 1))
        for start in range(0, len(vectors) if k else 0, step):
            approximate = vectors[start : start + step] @ self._vectors.T
            kth = np.partition(approximate, n - k, axis=1)[:, n - k]
            for row, values in enumerate(approximate, start):
                # A product's last digit depends on its batch: near ties go on to the sum that does not.
                near = np.flatnonzero(values >= kth[row - start] - ROUNDING)
                best, order = in_order(
                    exact_similarities(self._vectors, vectors[row : row + 1], near[None]), near[None]
                )
                similarities[row], rows[row] = best[0, :k], order[0, :k]
        return similarities, rows

    def prepare(self) -> None:
        """Do nothing: there is nothing to bring up to date."""
        pass

    def check(self) -> CheckReport:
        """Return a report without problems, or raise the reason why this index stands in for another."""
        self.repair()
        return CheckReport("exact", len(self._vectors))

    def repair(self) -> None:
        """Do nothing, or raise the reason why this index stands in for another."""
        if self._instead is not None:
            raise self._instead

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
        pass


def exact_similarities(vectors: Vectors, queries: Vectors, rows: Rows) -> Vectors:
    """Return the cosine similarity of each of m queries to its k rows of `vectors`: (m, k), the same in every batch."""
    similarities = np.empty(rows.shape, np.float32)
    for query, chosen, out in zip(queries, rows, similarities, strict=True):
        np.einsum("kd,d->k", vectors[chosen], query, out=out)
    return np.clip(similarities, -1.0, 1.0, out=similarities)


def in_order(similarities: Vectors, rows: Rows) -> tuple[Vectors, Rows]:
    """Return similarities and rows, both (m, k), most similar first; equal similarities in the order of their rows."""
    order = np.lexsort((rows, -similarities), axis=1)
    return np.take_along_axis(similarities, order, axis=1), np.take_along_axis(rows, order, axis=1)


@dataclass(frozen=True)
class CheckReport:
    """How an index compares with the labelled images.

    Attributes:
        index: "chroma", "server" or "exact".
        count: number of labelled images.
        missing: images that the index lacks.
        unknown: images that only the index has.
        outdated: images whose label, source or vector has changed since they were indexed.
        wrong: images that the index holds with another vector, or does not find by their own.
        error: why the index cannot be read at all; None if it can.
    """

    index: str
    count: int
    missing: int = 0
    unknown: int = 0
    outdated: int = 0
    wrong: int = 0
    error: str | None = None

    @property
    def damaged(self) -> bool:
        """Whether the index must be built anew, because bringing it up to date would not help."""
        return self.wrong > 0 or self.error is not None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one sentence each; empty if all is well."""
        counts = {
            "missing from the index": self.missing,
            "in the index, and not in the labelled images": self.unknown,
            "indexed with an older label, source or vector": self.outdated,
            "not found by their own vector": self.wrong,
        }
        sentences = [f"{number} of {self.count} images: {what}" for what, number in counts.items() if number]
        return (*sentences, self.error) if self.error is not None else tuple(sentences)

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems
