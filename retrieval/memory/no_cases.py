"""The image memory of a panel that knows answers and no images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consilience.retrieval.memory.image_memory import ImageMemory, Neighbourhood
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import Vectors


class NoCases(ImageMemory):
    """Finds no similar cases, and cannot tell how novel an image is: it says NaN.

    Args:
        labelled_images: of which no vectors are known.
        labels: the task's labels in its order.
    """

    def __init__(self, labelled_images: LabelledImages, labels: Sequence[str]) -> None:
        super().__init__(labelled_images, labels, ExactIndex(labelled_images))

    def query(self, vectors: Vectors, k: int, exclude: Sequence[str | None] | None = None) -> Neighbourhood:
        """Return no neighbours, (m, 0), whatever the vectors."""
        rows = np.empty((len(vectors), 0), np.intp)
        return Neighbourhood(rows, np.empty(rows.shape, np.float32), rows)

    def distance_ranks(self, neighbourhood: Neighbourhood) -> NDArray[np.float64]:
        """Return NaN for each image: nothing is known of it."""
        return np.full(len(neighbourhood.rows), np.nan)
