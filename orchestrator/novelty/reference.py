"""What a panel knows of its own images' vectors, and how far another image is from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.base import Features, LabelledFeatures
from consilience.agents.heads.model_selection import sample
from consilience.orchestrator.novelty.knn import knn_distance
from consilience.orchestrator.novelty.mahalanobis import label_means, mahalanobis_distance
from consilience.orchestrator.novelty.whitening import Whitening


@dataclass(frozen=True)
class NoveltyReference:
    """Vectors of the panel's own images, with which those of others are compared.

    Attributes:
        whitening: the space of all vectors here.
        rows: whitened vectors of known images, (n, d); of very many a fixed sample.
        means: directions of the labels' means, unit (c, d).
    """

    whitening: Whitening
    rows: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, whitening: Whitening, data: LabelledFeatures) -> Self:
        """Return the reference of labelled images, in the space of this whitening."""
        rows = whitening(data.features)
        return cls(whitening, rows[sample(len(rows))], label_means(rows, data.labels, data.n_labels))

    def signs(self, features: Features) -> dict[str, np.ndarray]:
        """Return the signs `mahalanobis` and `knn` of vectors (m, d), (m,) each."""
        rows = self.whitening(features)
        return {"mahalanobis": mahalanobis_distance(rows, self.means), "knn": knn_distance(rows, self.rows)}


def by_image(signs: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Return signs, (m,) each, as one mapping for each of the m images."""
    columns = (values.tolist() for values in signs.values())
    return [dict(zip(signs, values, strict=True)) for values in zip(*columns, strict=True)]
