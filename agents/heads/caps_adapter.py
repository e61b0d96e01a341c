"""CapS-Adapter: a cache of the labelled images and of captions, an image being compared with both.

Q. Wang, G. Liu, B. Wang, 'CapS-Adapter: Caption-based MultiModal Adapter in Zero-Shot Classification', ACM MM 2024,
arXiv 2405.16591: a support set holds images and their captions, and an image is compared with both. The paper captions
unlabelled images of the domain, makes the support set's images from these captions with a generator, and mixes both
similarities in one exponent. Here they are the labelled images themselves; the captions are the texts of the labels,
descriptions included, and what a vision-language agent says of each labelled image, if it was asked; and each kind has
its own term:

    logits = 100 f W' + a exp(-b (1 - f F')) L + a_t exp(-b (max f T' - f T')) L_t

with captions T of labels L_t, whose affinities are averaged within a label. Similarities to texts are far lower than to
images, so that they are taken against the most similar caption. a and b are those of the cache, a_t is chosen by the
leave-one-out log loss, for which an image's own caption is left out as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from consilience.agents.base import Features, LabelledFeatures, one_hot, softmax
from consilience.agents.heads.model_selection import are_few, sample, softened_log_loss
from consilience.agents.heads.tip_adapter import TipAdapter, affinities_to_others, text_logits
from consilience.core.errors import AgentError

TEXT_AMOUNTS = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Values of a_t to choose from."""

USUAL_TEXT_AMOUNT = 1.0
"""a_t where there are too few images to choose it."""

SHARPNESS = 20.0
"""b towards captions: their similarities lie within about 0.1 of each other."""


class CapsAdapter(TipAdapter):
    """The cache of Tip-Adapter with captions as further keys; needs an encoder with a text tower.

    Images that are added to a panel later have no captions of their own.
    """

    name = "caps-adapter"
    needs_text = True

    def __init__(self, data: LabelledFeatures, amount: float, sharpness: float, text_amount: float) -> None:
        if data.captions is None or data.texts is None:
            raise AgentError("the agent 'caps-adapter' needs an encoder with a text tower, such as open_clip:...")
        super().__init__(data, amount, sharpness)
        self.captions, self.described, self.text_amount = data.captions, data.described, text_amount
        vectors, labels = data.captions
        self._groups = np.full(len(labels), -1)  # of the image that each caption is of; -1: of none
        if data.described is not None:
            of = np.flatnonzero(data.described.any(axis=1))
            vectors, labels = np.concatenate([vectors, data.described[of]]), np.concatenate([labels, data.labels[of]])
            self._groups = np.concatenate([self._groups, data.groups[of]])
        self._texts, self._labels = vectors, one_hot(labels, data.n_labels)

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head with a and b as TipAdapter chooses them, and a_t by the leave-one-out log loss.

        Raises:
            AgentError: the data have no texts or captions, because the encoder has no text tower.
        """
        untrained = TipAdapter.fit(data)
        agent = cls(data, untrained.amount, untrained.sharpness, USUAL_TEXT_AMOUNT)
        if not are_few(data.labels):
            agent.text_amount = agent._best_text_amount(data)
        return agent

    def probabilities(self, features: Features) -> np.ndarray:
        return self._pooled(features, self.affinities(features), self.text_amount)

    def _pooled(
        self, features: Features, affinities: np.ndarray, text_amount: float, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Return probabilities (n, c) of features (n, d) from their affinities to the images, summed by label, (n, c).

        `groups` (n,) says which groups of labelled images the features are of: their captions are then left out.
        """
        similarities = features @ self._texts.T
        if groups is not None:
            similarities = np.where(groups[:, None] == self._groups, -np.inf, similarities)
        near = np.exp(SHARPNESS * (similarities - similarities.max(axis=1, keepdims=True)))
        by_label = near @ self._labels / np.maximum(np.isfinite(similarities) @ self._labels, 1)
        return softmax(self.amount * affinities + text_amount * by_label + text_logits(features, self.texts))

    def _best_text_amount(self, data: LabelledFeatures) -> float:
        """Return the a_t with the least leave-one-out log loss."""
        rows = sample(len(data.features))
        affinities = affinities_to_others(data, rows, (self.sharpness,))[self.sharpness]
        features, labels, groups = data.features[rows], data.labels[rows], data.groups[rows]
        return min(
            TEXT_AMOUNTS,
            key=lambda amount: softened_log_loss(self._pooled(features, affinities, amount, groups), labels),
        )

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Return a new fit; an image keeps its description, added images have none."""
        described = None
        if self.described is not None:
            known = {key.tobytes(): text for key, text in zip(self.keys, self.described, strict=True)}
            nothing = np.zeros_like(self.described[0])
            described = np.array([known.get(row.tobytes(), nothing) for row in data.features])
        return type(self).fit(replace(data, texts=self.texts, captions=self.captions, described=described))

    def arrays(self) -> dict[str, np.ndarray]:
        vectors, labels = self.captions
        return {
            **super().arrays(),
            "settings": np.array([self.amount, self.sharpness, self.text_amount]),
            "captions": vectors,
            "caption_labels": labels,
            **({} if self.described is None else {"described": self.described}),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        captions = arrays["captions"], arrays["caption_labels"]
        known = replace(data, texts=arrays["texts"], captions=captions, described=arrays.get("described"))
        return cls(known, *arrays["settings"].tolist())
