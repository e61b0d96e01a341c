"""Tip-Adapter-F: the cache of Tip-Adapter with keys that are fine-tuned.

R. Zhang et al., 'Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification', ECCV 2022, section 3.2: the
keys of the cache start as the labelled images' features and are trained by cross-entropy, the values stay. Here an
image's own key is left out of its loss, since new images have none, and a ridge holds the keys near; the gradient is
worked out exactly, so that no torch is needed; and how many steps of L-BFGS are taken is chosen by cross-validation.
None is the cache as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from consilience.agents.base import LabelledFeatures, one_hot, softmax
from consilience.agents.heads.model_selection import inner_folds, sample, softened_log_loss
from consilience.agents.heads.tip_adapter import TipAdapter, text_logits

STEPS = (0, 4, 12, 30)
"""Numbers of steps to choose from."""

USUAL_STEPS = 4
"""Where there is nothing to choose by."""

PULL = 5.0
"""Ridge on how far a key moves, beside the mean cross-entropy: it may go about a third of a unit vector's length."""


class TipAdapterF(TipAdapter):
    """Its keys are its own: it holds as many as there were images when it was fitted, MOST of them at most."""

    name = "tip-adapter-f"
    trains = True
    usual_error = 1.3

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        data = data.take(sample(len(data.labels)))
        untrained = TipAdapter.fit(data)
        tuned = cls(data, untrained.amount, untrained.sharpness)
        tuned.keys = tuned._trained(data, (_steps(data),))[0]
        return tuned

    def _trained(self, data: LabelledFeatures, steps: tuple[int, ...]) -> list[np.ndarray]:
        """The keys, float32 (n, d), after each number of steps, which ascend."""
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
    """The number of steps with the least log loss in cross-validation."""
    splits = list(inner_folds(data.labels))
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
