"""Tip-Adapter-F: the cache of Tip-Adapter with keys that are fine-tuned.

R. Zhang et al., 'Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification', ECCV 2022, section 3.2: the
keys of the cache start as the labelled images' features and are trained by cross-entropy, the values stay. Here an
image's own key is left out of its loss, since new images have none, and a ridge holds the keys near; the gradient is
worked out exactly, so that no torch is needed; and how many steps of L-BFGS are taken is chosen by cross-validation.
No step leaves the cache as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from consilience.agents.base import LabelledFeatures, one_hot, softmax
from consilience.agents.heads.folds import inner_folds
from consilience.agents.heads.model_selection import sample, softened_log_loss
from consilience.agents.heads.tip_adapter import TipAdapter, text_logits

STEPS = (0, 4, 12, 30)
"""Numbers of L-BFGS steps to choose from."""

USUAL_STEPS = 4
"""The number of steps with too few images to choose it."""

PULL = 5.0
"""Ridge on how far a key moves, beside the mean cross-entropy: it may go about a third of a unit vector's length."""


class TipAdapterF(TipAdapter):
    """Tip-Adapter-F head: the cache of Tip-Adapter with fine-tuned keys.

    It stores its keys: one for each image that it was fitted on, at most `model_selection.MAX_JUDGED_IMAGES`.
    """

    name = "tip-adapter-f"
    trains = True
    usual_error = 1.3

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head with a and b as TipAdapter chooses them, and trained keys."""
        data = data.take(sample(len(data.labels)))
        untrained = TipAdapter.fit(data)
        tuned = cls(data, untrained.amount, untrained.sharpness)
        tuned.keys = tuned._trained(data, (_steps(data),))[0]
        return tuned

    def _trained(self, data: LabelledFeatures, steps: tuple[int, ...]) -> list[np.ndarray]:
        """Return the keys, float32 (n, d), after each of the numbers of steps."""
        from scipy.optimize import minimize

        features = data.features.astype(np.float64)
        values = one_hot(data.labels, data.n_labels)
        scores = text_logits(data.features, self.texts)
        others = ~np.eye(len(features), dtype=bool)
        judged = (np.bincount(data.labels)[data.labels] > 1)[:, None] / len(features)  # others of its label are there

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            keys = flat.reshape(features.shape)
            moved = (keys - features) / len(features)
            affinities = np.exp(np.minimum(self.sharpness * (features @ keys.T - 1), 50.0)) * others
            posterior = softmax(self.amount * affinities @ values + scores)
            residual = (posterior - values) * judged
            gradient = self.amount * self.sharpness * ((residual @ values.T) * affinities).T @ features + PULL * moved
            own = np.log(np.maximum(posterior[np.arange(len(features)), data.labels], 1e-12))
            pull = PULL / 2 * (moved * (keys - features)).sum()
            return float(pull - (own * judged[:, 0]).sum()), gradient.ravel()

        texts = []
        for number in steps:
            keys = features.ravel()
            if number and judged.any():
                keys = minimize(loss, keys, jac=True, method="L-BFGS-B", options={"maxiter": number}).x
            texts.append(keys.reshape(features.shape).astype(np.float32))
        return texts

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        return type(self).fit(replace(data, texts=self.texts))

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "keys": self.keys, "labels": self.values.argmax(axis=1)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        own = LabelledFeatures(arrays["keys"], arrays["labels"], data.n_labels, arrays.get("texts"))
        return cls(own, *arrays["settings"].tolist())


def _steps(data: LabelledFeatures) -> int:
    """Return the number of steps with the least cross-validated log loss; USUAL_STEPS with too few images."""
    splits = list(inner_folds(data.labels, data.groups))
    if not splits:
        return USUAL_STEPS
    losses = np.zeros(len(STEPS))
    for train, test in splits:
        known, held_out = data.take(train), data.take(test)
        untrained = TipAdapter.fit(known)
        agent = TipAdapterF(known, untrained.amount, untrained.sharpness)
        for place, keys in enumerate(agent._trained(known, STEPS)):
            agent.keys = keys
            losses[place] += len(test) * softened_log_loss(agent.probabilities(held_out.features), held_out.labels)
    return STEPS[int(losses.argmin())]
