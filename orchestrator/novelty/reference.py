"""What a panel knows of its own images' vectors, and how far another image is from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from consilience.agents.base import Features, LabelledFeatures
from consilience.agents.heads.model_selection import sample
from consilience.orchestrator.novelty.knn import knn_distance
from consilience.orchestrator.novelty.mahalanobis import label_means, mahalanobis_distance
from consilience.orchestrator.novelty.unknown_reference import UNKNOWN, vector_keys
from consilience.orchestrator.novelty.whitening import Whitening


@dataclass(frozen=True)
class NoveltyReference:
    """Vectors of the panel's own images, with which those of others are compared.

    Attributes:
        whitening: the space of all vectors here.
        rows: whitened vectors of known images, (n, d); of very many a fixed sample.
        means: directions of the labels' means, unit (c, d).
        keys: of the vectors of `rows`, uint64 (n,), see `vector_keys`.
        unknown: whitened vectors of images that show none of the labels, (u, d), u > 0; None without such.
    """

    whitening: Whitening
    rows: np.ndarray
    means: np.ndarray
    keys: np.ndarray | None = None
    unknown: Features | None = None

    @classmethod
    def of(cls, whitening: Whitening, data: LabelledFeatures, unknown: Features | None = None) -> Self:
        """Return the reference of labelled images, in the space of this whitening.

        Args:
            unknown: vectors of images that show none of the labels, (u, d).
        """
        rows = whitening(data.features)
        chosen = sample(len(rows))
        reference = cls(whitening, rows[chosen], label_means(rows, data.labels, data.n_labels))
        if unknown is None or not len(unknown):
            return reference
        return replace(reference, keys=vector_keys(data.features[chosen]), unknown=whitening(unknown))

    def signs(self, features: Features) -> dict[str, np.ndarray]:
        """Return the signs `mahalanobis` and `knn` of vectors (m, d), (m,) each; `UNKNOWN` where examples are known."""
        rows = self.whitening(features)
        signs = {"mahalanobis": mahalanobis_distance(rows, self.means), "knn": knn_distance(rows, self.rows)}
        return signs if self.unknown is None else signs | {UNKNOWN: signs["knn"] - knn_distance(rows, self.unknown)}


def by_image(signs: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Return signs, (m,) each, as one mapping for each of the m images."""
    columns = (values.tolist() for values in signs.values())
    return [dict(zip(signs, values, strict=True)) for values in zip(*columns, strict=True)]
