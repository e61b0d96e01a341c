"""Linear probe: multinomial logistic regression on the features (Radford et al. 2021, CLIP, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, LabelledFeatures, LinearLogits, softmax
from consilience.agents.heads.folds import judged_folds
from consilience.agents.heads.logistic_regression import LogisticProblem, principal_axes
from consilience.agents.heads.model_selection import scales

STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Inverse regularisation strengths that cross-validation chooses from, ascending."""

USUAL_STRENGTH = 10_000.0
"""The strength with too few images to choose it."""

CHOICE_TOLERANCE = 1e-4
"""How exactly each strength is tried: their losses differ by far more."""


class Probe(FeatureAgent):
    """Linear probe head: features are scaled (`scales`), L2 regularisation is chosen by cross-validated log loss."""

    name = "probe"

    def __init__(self, weights: np.ndarray, bias: np.ndarray, strength: float) -> None:
        self.weights, self.bias, self.strength = weights, bias, strength

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head; a label without images gets probability 0."""
        features = data.features
        centre = features.mean(axis=0, dtype=np.float64)
        scale = scales(features)
        rows, axes = principal_axes((features - centre.astype(np.float32)) / scale.astype(np.float32))
        present, labels = np.unique(data.labels, return_inverse=True)
        problem = LogisticProblem.of(rows, labels, len(present))
        strength, start = _choose_strength(problem, data.groups)
        fitted = problem.minimum(strength, start).T
        weights = np.zeros((data.n_labels, features.shape[1]))
        bias = np.full(data.n_labels, -np.inf)  # a label without images keeps probability 0
        weights[present] = fitted[:, :-1] @ axes / scale
        bias[present] = fitted[:, -1] - weights[present] @ centre
        return cls(weights, bias, strength)

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return softmax(inputs.features @ self.weights.T + self.bias)

    def linear(self) -> LinearLogits:
        return LinearLogits(self.weights, self.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "strength": np.array(self.strength)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        return cls(arrays["weights"], arrays["bias"], float(arrays["strength"]))


def _choose_strength(problem: LogisticProblem, groups: np.ndarray) -> tuple[float, np.ndarray | None]:
    """Return the strength with the least cross-validated log loss, and weights to start from; None: from nothing.

    Strengths are tried from the least on, each from the minimum of the one before, until the loss rises again: weak
    regularisation takes longest.
    """
    splits = judged_folds(problem.labels, groups)
    if not splits:
        return USUAL_STRENGTH, None
    parts = [(problem.take(train), problem.take(test)) for train, test in splits]
    best: tuple[float, np.ndarray | None] = USUAL_STRENGTH, None
    starts: list[np.ndarray | None] = [None] * len(parts)
    least = np.inf
    for strength in STRENGTHS:
        pairs = zip(parts, starts, strict=True)
        fitted = [learned.minimum(strength, start, CHOICE_TOLERANCE) for (learned, _), start in pairs]
        loss = sum(_loss(judged, weights) for (_, judged), weights in zip(parts, fitted, strict=True))
        if loss > least:
            break
        best, least, starts = (strength, fitted[0]), loss, [*fitted]
    return best


def _loss(judged: LogisticProblem, weights: np.ndarray) -> float:
    of_truth = judged.probabilities(weights)[np.arange(len(judged.labels)), judged.labels]
    return float(-np.log(np.maximum(of_truth, np.finfo(np.float64).eps)).sum())
