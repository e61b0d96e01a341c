"""CapS-Adapter: a cache with two kinds of keys, images and captions.

Q. Wang, G. Liu, B. Wang, 'CapS-Adapter: Caption-based MultiModal Adapter in Zero-Shot Classification', ACM MM 2024: a
support set holds images and their captions, and an image is compared with both. The paper makes the images of the
support set from captions with a generator; here they are the labelled images, and the captions are the texts of the
labels, descriptions included:

    logits = 100 f W' + a exp(-b (1 - f F')) L + a_t exp(-b (max f T' - f T')) L_t

with captions T of labels L_t, whose affinities are averaged within a label. Similarities to texts are far lower than to
images, so that they are taken against the most similar caption. a and b are those of the cache, a_t is chosen by the
leave-one-out log loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from consilience.agents.base import Features, LabelledFeatures, one_hot, softmax
from consilience.agents.cache import Cache, text_logits
from consilience.agents.tuning import are_few, log_loss, sample, similarities_to_others
from consilience.errors import AgentError

TEXT_AMOUNTS = (0.0, 0.3, 1.0, 3.0, 10.0)
USUAL_TEXT_AMOUNT = 1.0
"""Where there is nothing to choose by."""

SHARPNESS = 20.0
"""b towards captions: their similarities lie within about 0.1 of each other."""


class CapsAdapter(Cache):
    """Needs an encoder with a text tower."""

    name = "caps-adapter"
    needs_text = True

    def __init__(self, data: LabelledFeatures, amount: float, sharpness: float, text_amount: float) -> None:
        if data.captions is None or data.texts is None:
            raise AgentError("the agent 'caps-adapter' needs an encoder with a text tower, such as open_clip:...")
        super().__init__(data, amount, sharpness)
        self.captions, self.text_amount = data.captions, text_amount

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        untrained = Cache.fit(data)
        agent = cls(data, untrained.amount, untrained.sharpness, USUAL_TEXT_AMOUNT)
        if not are_few(data.labels):
            agent.text_amount = agent._best_text_amount(data)
        return agent

    def probabilities(self, features: Features) -> np.ndarray:
        affinities = np.exp(self.sharpness * (features @ self.keys.T - 1)) @ self.values
        return self._pooled(features, affinities, self.text_amount)

    def _pooled(self, features: Features, affinities: np.ndarray, text_amount: float) -> np.ndarray:
        vectors, labels = self.captions
        similarities = features @ vectors.T
        near = np.exp(SHARPNESS * (similarities - similarities.max(axis=1, keepdims=True)))
        members = one_hot(labels, self.values.shape[1])
        by_label = near @ (members / np.maximum(members.sum(axis=0), 1))
        return softmax(self.amount * affinities + text_amount * by_label + text_logits(features, self.texts))

    def _best_text_amount(self, data: LabelledFeatures) -> float:
        rows = sample(len(data.features))
        affinities = np.exp(self.sharpness * (similarities_to_others(data.features, rows) - 1)) @ self.values
        features, labels = data.features[rows], data.labels[rows]
        return min(TEXT_AMOUNTS, key=lambda one: log_loss(self._pooled(features, affinities, one), labels))

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        return type(self).fit(replace(data, texts=self.texts, captions=self.captions))

    def arrays(self) -> dict[str, np.ndarray]:
        vectors, labels = self.captions
        return {
            **super().arrays(),
            "settings": np.array([self.amount, self.sharpness, self.text_amount]),
            "captions": vectors,
            "caption_labels": labels,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        captions = arrays["captions"], arrays["caption_labels"]
        return cls(replace(data, texts=arrays["texts"], captions=captions), *arrays["settings"].tolist())
