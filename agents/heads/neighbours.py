"""The k nearest labelled images in the memory, weighted by their similarity.

p(y) is proportional to a + sum over neighbours i of label y of exp(b (s_i - s_1)), with s the cosine
similarity and s_1 that of the nearest (Dudani 1976 for the idea of distance weights). k, b and the
smoothing a are chosen by the leave-one-out log loss, where there are not too few images for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, LabelledFeatures
from consilience.agents.heads.model_selection import are_few, nearest_labels, softened_log_loss

K = 10
"""The most neighbours used, and how many the image memory is asked for."""

DEFAULT_SETTINGS = (5, 30.0, 0.03)
"""k, b and a where there are too few images to choose them."""


class Neighbours(FeatureAgent):
    """k-nearest-neighbours head: the neighbours that the image memory found vote; it holds no vectors itself."""

    name = "neighbours"
    usual_error = 1.5
    needs_neighbours = True

    def __init__(self, k: int, sharpness: float, smoothing: float, n_labels: int) -> None:
        self.k, self.sharpness, self.smoothing, self.n_labels = k, sharpness, smoothing, n_labels

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head with the k, b and a of the least leave-one-out log loss, or defaults with few images."""
        if are_few(data.labels):
            return cls(*DEFAULT_SETTINGS, data.n_labels)
        own, neighbour_labels, similarities = nearest_labels(data, K)
        choices = [
            cls(k, sharpness, smoothing, data.n_labels)
            for k, sharpness, smoothing in product((1, 3, 5, K), (0.0, 10.0, 30.0, 100.0), (0.03, 0.3, 1.0))
        ]
        return min(choices, key=lambda choice: softened_log_loss(choice.vote(neighbour_labels, similarities), own))

    def vote(self, neighbour_labels: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Return the probabilities, float64 (n, n_labels), that the neighbours' labels and similarities give.

        Args:
            neighbour_labels: int (n, at least k), nearest first; -1 where there is none.
            similarities: cosine similarities of the same shape.
        """
        near, similar = neighbour_labels[:, : self.k], similarities[:, : self.k].astype(np.float64)
        weights = np.exp(self.sharpness * (similar - similar[:, :1])) * (near >= 0)
        votes = np.full((len(near), self.n_labels), self.smoothing)
        for column in range(near.shape[1]):
            np.add.at(votes, (np.arange(len(near)), near[:, column]), weights[:, column])
        return np.asarray(votes / votes.sum(axis=1, keepdims=True))

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return self.vote(inputs.neighbour_labels, inputs.similarities)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"settings": np.array([self.k, self.sharpness, self.smoothing, self.n_labels])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        k, sharpness, smoothing, n_labels = arrays["settings"].tolist()
        return cls(int(k), sharpness, smoothing, int(n_labels))
