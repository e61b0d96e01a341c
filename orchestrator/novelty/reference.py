"""What a panel knows of its own images' vectors, and how far another image is from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.base import Features, LabelledFeatures
from consilience.agents.heads.model_selection import sample
from consilience.orchestrator.novelty.knn import distance_to_nearest
from consilience.orchestrator.novelty.mahalanobis import distance_to_means, label_means
from consilience.orchestrator.novelty.whitening import Whitening


@dataclass(frozen=True)
class Known:
    """Attributes: rows, whitened vectors of known images, a fixed sample of very many; means, (c, d)."""

    whitening: Whitening
    rows: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, whitening: Whitening, data: LabelledFeatures) -> Self:
        rows = whitening(data.features)
        return cls(whitening, rows[sample(len(rows))], label_means(rows, data.labels, data.n_labels))

    def signs(self, features: Features) -> dict[str, np.ndarray]:
        """`means` and `nearest` of vectors (m, d), (m,) each."""
        rows = self.whitening(features)
        return {"means": distance_to_means(rows, self.means), "nearest": distance_to_nearest(rows, self.rows)}


def by_image(signs: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Signs, (m,) each, as one mapping for each of the m images."""
    columns = (values.tolist() for values in signs.values())
    return [dict(zip(signs, values, strict=True)) for values in zip(*columns, strict=True)]
