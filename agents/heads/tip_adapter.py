"""Tip-Adapter: a key-value cache of the labelled images, without training.

R. Zhang, W. Zhang, R. Fang, P. Gao, K. Li, J. Dai, Y. Qiao, H. Li, 'Tip-Adapter: Training-free Adaption of CLIP
for Few-shot Classification', ECCV 2022: logits = a exp(-b (1 - f F')) L + 100 f W', with keys F (features of
the labelled images), values L (one-hot labels) and text embeddings W. Without a text tower the second term
is left out. a and b are chosen by the leave-one-out log loss, where there are not too few images for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, Features, LabelledFeatures, one_hot, softmax
from consilience.agents.heads.model_selection import (
    are_few,
    parts_of,
    sample,
    similarities_to_others,
    softened_log_loss,
)
from consilience.agents.heads.zero_shot import LOGIT_SCALE

DEFAULT_SHARPNESS_AND_WEIGHT = (10.0, 5.5)
"""a and b where there are too few images to choose them; b is the paper's."""

SHARPNESSES, AMOUNTS = (5.5, 20.0, 50.0, 100.0), (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Values of b and a to choose from."""


class TipAdapter(FeatureAgent):
    """Tip-Adapter head: a cache of the labelled images' features; text embeddings add to it where there are any.

    Attributes:
        keys: the labelled images' features, float32 (n, d).
        values: their labels as indicators, float32 (n, c).
        texts: embeddings of the labels, float32 (c, d); None without a text tower.
        amount, sharpness: a and b of the formula.
    """

    name = "tip-adapter"
    usual_error = 1.5

    def __init__(self, data: LabelledFeatures, amount: float, sharpness: float) -> None:
        self.keys, self.texts = data.features, data.texts
        self.values = one_hot(data.labels, data.n_labels).astype(np.float32)
        self.amount, self.sharpness = amount, sharpness

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head with the a and b of the least leave-one-out log loss, or defaults with few images."""
        if are_few(data.labels):
            return cls(data, *DEFAULT_SHARPNESS_AND_WEIGHT)
        rows = sample(len(data.features))
        features, labels = data.features[rows], data.labels[rows]
        best = (np.inf, *DEFAULT_SHARPNESS_AND_WEIGHT)
        for sharpness, affinities in affinities_to_others(data, rows, SHARPNESSES).items():
            for amount in AMOUNTS:
                logits = amount * affinities + text_logits(features, data.texts)
                best = min(best, (softened_log_loss(softmax(logits), labels), amount, sharpness))
        return cls(data, *best[1:])

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return self.probabilities(inputs.features)

    def probabilities(self, features: Features) -> np.ndarray:
        """Return the probabilities of features (n, d), float64 (n, n_labels)."""
        return softmax(self.amount * self.affinities(features) + text_logits(features, self.texts))

    def affinities(self, features: Features) -> np.ndarray:
        """Return exp(-b (1 - f F')) L of features (n, d), float32 (n, n_labels)."""
        sums = np.empty((len(features), self.values.shape[1]), dtype=np.float32)
        for part in parts_of(len(features), len(self.keys)):
            sums[part] = _affinities(features[part] @ self.keys.T, self.sharpness) @ self.values
        return sums

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        return type(self).fit(replace(data, texts=self.texts))

    def arrays(self) -> dict[str, np.ndarray]:
        texts = {} if self.texts is None else {"texts": self.texts}
        return {"settings": np.array([self.amount, self.sharpness]), **texts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        """Return the head; its keys are not stored, so `data` must hold the images that it was fitted on."""
        return cls(replace(data, texts=arrays.get("texts")), *arrays["settings"].tolist())


def affinities_to_others(
    data: LabelledFeatures, rows: np.ndarray, sharpnesses: Sequence[float]
) -> dict[float, np.ndarray]:
    """Return by b exp(-b (1 - f F')) L of some of the images, float32 (len(rows), n_labels), their own groups left out.

    Args:
        rows: of these images, int (m,).
        sharpnesses: values of b.
    """
    values = one_hot(data.labels, data.n_labels).astype(np.float32)
    sums = {sharpness: np.empty((len(rows), data.n_labels), dtype=np.float32) for sharpness in sharpnesses}
    for part in parts_of(len(rows), len(values)):
        similarities = similarities_to_others(data, rows[part])
        for sharpness in sharpnesses:
            sums[sharpness][part] = _affinities(similarities, sharpness) @ values
    return sums


def _affinities(similarities: np.ndarray, sharpness: float) -> np.ndarray:
    """Return exp(-b (1 - s)), float32 as the similarities."""
    affinities = (similarities - 1) * np.float32(sharpness)
    return np.exp(affinities, out=affinities)


def text_logits(features: Features, texts: Features | None) -> np.ndarray:
    """Return the zero-shot logits 100 f W', (n, n_labels); a single 0 without texts."""
    return np.zeros(1) if texts is None else LOGIT_SCALE * features @ texts.T
